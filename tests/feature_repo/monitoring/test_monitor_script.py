"""`scripts/monitor.py` as a process: files, exit codes, gauges while it watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_repo.quality.rules import check, quarantine
from feature_repo.store import StoreError
from feature_repo.views import USER_COUNTERS
from scripts.commands import CommandError, command_overrides
from scripts.monitor import COMMANDS, chosen
from tests.conftest import ROOT


def command(root: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "scripts/monitor.py", *arguments, f"paths.root={root}",
        f"output_dir={root / 'out'}",
    ]  # fmt: skip


def script(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(root, *arguments), cwd=ROOT, capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip


@pytest.fixture
def root(marketplace: Path, tmp_path: Path) -> Path:
    """A root whose `data` is the marketplace's."""
    (tmp_path / "data").symlink_to(marketplace / "data")
    return tmp_path


def test_it_leaves_metrics_page_gauges_and_examples(root: Path) -> None:
    done = script(root, "features", "as_of=2026-01-01", "monitoring.current_days=3")
    assert done.returncode == 0, done.stderr
    out = root / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["views"]) >= {"user_history", "telemetry_windows"}
    assert metrics["as_of"].startswith("2026-01-01T00:00:00")
    assert "<h1>Features</h1>" in (out / "features.html").read_text()
    assert "millrace_feature_psi{" in (out / "features.prom").read_text()
    assert (out / "skew_examples.jsonl").read_text() == ""
    assert "user_history" in done.stdout


def test_the_command_may_be_an_override_and_findings_may_fail(root: Path) -> None:
    done = script(root, "command=features", "fail_on_alert=true", "views=[user_history]")
    assert done.returncode == 3, done.stderr
    assert "findings" in done.stderr
    assert "Traceback" not in done.stderr
    assert "critical: user_history: newest value offline is" in done.stdout
    assert list(json.loads((root / "out" / "metrics.json").read_text())["views"]) == [
        "user_history"
    ]


def test_what_is_wrong_is_named(root: Path) -> None:
    done = script(root, "features", "monitoring.baseline_file=/none.json")
    assert done.returncode == 66
    assert "error: /none.json: no baseline file" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(StoreError, match="no view 'user_histori'; nearest: user_history"):
        chosen(["user_histori"])
    with pytest.raises(CommandError, match="no command 'feature'; nearest: features"):
        command_overrides(["feature"], dict.fromkeys(COMMANDS, ()))


def test_quarantine_is_listed_with_reasons(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    rows = pl.DataFrame(
        {
            "user_id": ["u1", "u2"],
            "views": [-3, 1],
            "adds": [0, -1],
            "orders": [0, 0],
            "spend": [0.0, float("nan")],
            "event_timestamp": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
        }
    ).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    quarantine(store, USER_COUNTERS, check(USER_COUNTERS, rows)[1], datetime.now(UTC))
    done = script(root, "quarantine", f"paths.features={store}")
    assert done.returncode == 0, done.stderr
    assert "views = -3 breaks views >= 0" in done.stdout
    assert "adds = -1 breaks adds >= 0; spend = NaN breaks spend finite" in done.stdout
    counted = json.loads((root / "out" / "metrics.json").read_text())["quarantine"]
    assert {r["rule"]: r["rows"] for r in counted["user_counters"]} == {
        "views >= 0": 1, "adds >= 0": 1, "spend finite": 1,
    }  # fmt: skip


def test_gauges_are_served_while_it_watches(root: Path) -> None:
    process = subprocess.Popen(
        command(root, "features", "watch=true", "port=0", "interval_s=0.2", "as_of=2026-01-01",
                "views=[user_counters]"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.endswith("/metrics"), process.stderr.read() if process.stderr else ""
        for line in process.stdout:
            if "features.html" in line:
                break
        assert 'millrace_feature_psi{feature="views",view="user_counters"}' in _get(url)
        # A look that fails is counted, and the last gauges stay.
        (root / "data").unlink()
        while "millrace_feature_monitor_failures_total 0.0" in _get(url):
            pass
        assert 'millrace_feature_psi{feature="views",view="user_counters"}' in _get(url)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
