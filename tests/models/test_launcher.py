"""Processes of torchrun end with its agent, also when that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.launcher import AGENTS_FILE, end_with_agent, leave_reason
from tests.conftest import ROOT

# The rank says that it is ready, then would live for as long as the test has patience.
RANK = "import time; from models.launcher import end_with_agent; end_with_agent(); "
RANK += "print('ready', flush=True); time.sleep(600)"
AGENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {RANK!r}], "
AGENT += "start_new_session=True).wait()"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_rank_ends_when_its_agent_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "41"}
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == "ready\n"
    agent.kill()
    # Both write to this pipe: it ends when both have ended, and not before.
    rest, _ = agent.communicate(timeout=60)
    assert rest == ""


def test_nothing_is_asked_for_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("asked the kernel"))
    end_with_agent()


def test_a_reason_is_left_for_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AGENTS_FILE, str(tmp_path / "error.json"))
    leave_reason(ValueError("no such data"))
    told = json.loads((tmp_path / "error.json").read_text())
    assert told["message"]["message"] == "ValueError: no such data"


def test_a_reason_that_cannot_be_written_hides_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(AGENTS_FILE, str(tmp_path / "absent" / "error.json"))
    leave_reason(ValueError("no such data"))
    assert "torchrun is not told why" in caplog.text
