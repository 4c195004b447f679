"""Two who apply at once, and one who is killed while it does, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.lease import LeaseHeldError, LeaseTerms, hold
from feature_repo.store import open_store
from tests.conftest import ROOT
from tests.feature_repo.registry.conftest import Registry, a_view

# Applies the view `name`; with `stop`, waits for ever once Feast is about to be changed.
APPLIER = """
import sys, time
from pathlib import Path
from feature_repo.registry.apply import apply
from feature_repo.registry.author import Author
from feature_repo.registry.definition import of_view
from feature_repo.registry.lease import LeaseTerms
from feature_repo.store import open_store
from tests.feature_repo.registry.conftest import a_view

folder, name, stop = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "stop"
store = open_store(folder)
definition = of_view(a_view(name=name))
print("ready", flush=True)
sys.stdin.readline()
if stop:
    def wait(*a, **k):
        print("holding", flush=True)
        time.sleep(600)
    store.apply = wait
apply(store, folder, [definition], Author(name, "at once"), LeaseTerms(60, 3, 0.05))
print("done", flush=True)
"""


def applier(folder: Path, name: str, stop: bool = False) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", APPLIER, str(folder), name, "stop" if stop else "go"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return process


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line == word, line


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_that_apply_at_once_both_succeed(registry: Registry) -> None:
    with applier(registry.folder, "first") as first, applier(registry.folder, "second") as second:
        for step in (lambda p: says(p, "ready"), go, lambda p: says(p, "done")):
            step(first)
            step(second)
    assert first.returncode == second.returncode == 0
    names = {v.name for v in open_store(registry.folder).list_feature_views()}
    assert names == {"first", "second"}
    with connect(registry.folder).connect() as connection:
        now = versions.current(connection)
    assert {n: r.changed_by for n, r in now.items()} == {"first": "first", "second": "second"}


def test_the_lease_of_a_killed_applier_runs_out_and_its_work_is_settled(
    registry: Registry,
) -> None:
    brief = LeaseTerms(wait_s=0.2, expiry_s=3, poll_s=0.05)
    engine = connect(registry.folder)
    with applier(registry.folder, "killed", stop=True) as process:
        says(process, "ready")
        go(process)
        says(process, "holding")
        time.sleep(4)  # longer than its lease: it is alive, so it still holds it
        with pytest.raises(LeaseHeldError) as refused, hold(engine, brief, "ann"):
            pass
        process.send_signal(signal.SIGKILL)
    assert f"being changed by killed (pid {process.pid} on " in str(refused.value)
    assert "waited 0 s" in str(refused.value)
    done = registry.apply(a_view())
    assert [(r.full_name, r.state) for r in done.settled] == [("killed", "abandoned")]
    assert {v.name for v in open_store(registry.folder).list_feature_views()} == {"shopping"}


def test_a_lease_that_was_lost_is_noticed(registry: Registry) -> None:
    engine = connect(registry.folder)
    slow = LeaseTerms(wait_s=1, expiry_s=3600, poll_s=0.05)
    with hold(engine, slow, "ann") as lease:
        with engine.begin() as connection:  # as if it had expired and bob had come
            from feature_repo.registry.lease import leases

            connection.execute(leases.update().values(token="other", owner="bob"))
        with (
            engine.begin() as connection,
            pytest.raises(LeaseHeldError, match=r"ran out while ann .* worked; bob holds it now"),
        ):
            lease.require(connection)
