"""`scripts/retrain.py`: promote what is better, keep what is not, say which by the exit code."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from models import champion
from pipelines.anomalies.store import connect
from pipelines.simulator.telemetry import KINDS
from tests.conftest import ROOT
from tests.models.anomaly.retraining.artifacts import put
from tests.pipelines.anomalies.judged import found, judge

FIELDS = ("cpu", "memory", "latency_ms", "errors", "requests")
QUICK = 'overrides=["trainer.max_epochs=1","model.epoch_steps=40","evaluation.floors={}"]'
LESS = (
    'overrides=["evaluation.floors={}","+incremental.changes.epoch_steps=10",'
    '"data.hold_out.share=0.2"]'
)


def call(script: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"scripts/{script}.py", *arguments, f"paths.root={root}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(root)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    done = call(
        "simulate", root, "size=tiny", "plot=false", "simulation.days=8", "simulation.users=20"
    )
    assert done.returncode == 0, done.stderr
    assert KINDS
    return root


@pytest.fixture
def root(simulated: Path, tmp_path: Path) -> Path:
    """A warehouse, and a champion that ranks everything the wrong way round."""
    shutil.copytree(simulated / "data", tmp_path / "data")
    put(tmp_path / "artifacts", "20250101-000000-000", FIELDS, [50.0] * 5, scale=-1.0)
    return tmp_path


def report(root: Path) -> dict[str, object]:
    [file] = (root / "runs" / "retrain").glob("*/metrics.json")
    content: dict[str, object] = json.loads(file.read_text())
    return content


@pytest.mark.slow
@pytest.mark.timeout(900)  # two trainings
def test_a_better_challenger_is_promoted_gone_on_from_and_rolled_back(root: Path) -> None:
    engine = connect(f"sqlite:///{root}/data/anomalies/store.db")
    rows = pl.read_parquet(root / "data/warehouse/telemetry/**/*.parquet").sort("timestamp")
    for i, name in ((-1, "confirmed"), (-2, "dismissed"), (-3000, "confirmed")):
        at = rows["timestamp"].dt.epoch("us")[i]
        judge(engine, found(engine, rows["source"][i], int(at)), name)
    judge(engine, found(engine, "gone", 1_000_000), "confirmed")
    engine.dispose()
    scored = {"score": 9.0, "threshold": 4.0, "anomalous": True, "version": "1"}
    alarms = rows[[-3000, -4000]].select("source", "timestamp")  # one judged, one not
    landed = root / "data/warehouse/scores/date=2026-01-01"
    landed.mkdir(parents=True)
    alarms.with_columns(pl.lit(v).alias(k) for k, v in scored.items()).write_parquet(
        landed / "p000-000000000001-000000000002.parquet"
    )

    done = call("retrain", root, "task=anomaly", QUICK)
    assert done.returncode == 0, done.stderr[-3000:]
    said = report(root)
    new = str(said["challenger"])
    assert said["promoted"]
    assert said["data"]["verdicts"] == {  # type: ignore[index]
        "matched": 3, "restored": 1, "lost": 0, "doubted": 1,
    }  # fmt: skip
    assert "judged them: 1 of the rows before the holdout" in done.stdout
    assert "the holdout alone decides" in done.stdout
    assert champion.champion(root / "artifacts", "anomaly").name == new
    [page] = (root / "runs" / "retrain").glob("*/comparison.html")
    assert "rollback name=anomaly" in page.read_text()

    # The new champion is hard to beat by ten steps: it stays, and the exit code says so.
    shutil.rmtree(root / "runs")
    again = call("retrain", root, "task=anomaly", "mode=incremental", LESS, "promote=false")
    assert again.returncode == 3, again.stderr[-3000:]
    said = report(root)
    assert (said["champion"], said["promoted"]) == (new, False)
    assert champion.champion(root / "artifacts", "anomaly").name == new

    back = call("champion", root, "rollback", "name=anomaly")
    assert back.returncode == 0, back.stderr
    assert champion.champion(root / "artifacts", "anomaly").name == "20250101-000000-000"


def test_a_champion_without_state_cannot_be_gone_on_from(root: Path) -> None:
    done = call("retrain", root, "task=anomaly", "mode=incremental")
    assert done.returncode == 78
    assert "use mode=full" in done.stderr
    assert champion.champion(root / "artifacts", "anomaly").name == "20250101-000000-000"


def test_two_at_once_are_refused(root: Path) -> None:
    with (root / "artifacts" / "anomaly" / ".retrain.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        done = call("retrain", root, "task=anomaly")
    assert done.returncode == 75
    assert "another retraining runs (process 4711)" in done.stderr


def test_a_deleted_champion_is_named_before_anything_is_trained(root: Path) -> None:
    artifacts = root / "artifacts"
    put(artifacts, "20250102-000000-000", FIELDS, [50.0] * 5)
    champion.promote(artifacts, "anomaly", "20250102-000000-000", "", "ada")
    shutil.rmtree(artifacts / "anomaly" / "20250102-000000-000")
    done = call("retrain", root, "task=anomaly")
    assert done.returncode == 65
    assert "version 20250102-000000-000 is in force, but" in done.stderr
    assert len(champion.versions(artifacts, "anomaly")) == 1


@pytest.mark.parametrize(
    ("argument", "code", "text"),
    [
        ("task=anomalies", 2, "no config 'retrain/anomalies'; nearest: retrain/anomaly"),
        ("mode=some", 2, "mode=some: there are full, incremental"),
    ],
)
def test_a_wrong_command_line_lists_what_there_is(
    root: Path, argument: str, code: int, text: str
) -> None:
    done = call("retrain", root, argument)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
