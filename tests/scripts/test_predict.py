"""`scripts/predict.py` as a user calls it: which version scores, and going on after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from models.champion import promote
from tests.serving.texts import make_classifier

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_classifier(tmp_path)
    return tmp_path


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "scripts/predict.py", "task=sentiment", f"paths.root={root}", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_version_in_force_scores_not_the_newest(root: Path) -> None:
    first = root / "artifacts" / "sentiment" / "20260101-000000-000"
    newer = first.with_name("20260102-000000-000")
    shutil.copytree(first, newer)
    signature = json.loads((newer / "signature.json").read_text())
    (newer / "signature.json").write_text(json.dumps(signature | {"version": newer.name}))
    promote(root / "artifacts", "sentiment", first.name, "better", "ada")
    (root / "in.csv").write_text("text\ngood film\n")
    run = start(root, f"input={root / 'in.csv'}", f"output={root / 'out.csv'}")
    assert "1 of them scored now" in run.communicate(timeout=120)[0]
    assert pl.read_csv(root / "out.csv")["model_version"].to_list() == [first.name]


def test_a_killed_run_goes_on_after_its_last_whole_part(root: Path) -> None:
    texts = [f"good film {n}" for n in range(20_000)]
    pl.DataFrame({"text": texts}).write_parquet(root / "in.parquet")
    arguments = [
        f"input={root / 'in.parquet'}", f"output={root / 'out.parquet'}", "predict.rows=100",
        "predict.languages=false",
    ]  # fmt: skip
    parts = root / "out.parquet.parts"
    killed = start(root, *arguments)
    deadline = time.monotonic() + 120
    while len(list(parts.glob("part-*.parquet"))) < 3:
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = len(list(parts.glob("part-*.parquet")))
    assert 3 <= kept < 200
    said = start(root, *arguments).communicate(timeout=120)[0]
    assert f"20000 rows, {20_000 - 100 * kept} of them scored now" in said
    assert pl.read_parquet(root / "out.parquet")["text"].to_list() == texts
    assert not parts.exists()
