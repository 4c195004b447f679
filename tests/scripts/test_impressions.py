"""From events to what a ranker learns from, on the command line: simulate, materialize, impressions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from feature_repo.registry.contract import require_same
from models.recommender.ranking.fields import Fields
from models.recommender.ranking.readers.snapshot import SnapshotReader
from scripts.entrypoint import CONFIGS
from tests.conftest import ROOT


def run(root: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"scripts/{script}.py", f"paths.root={root}",
         f"output_dir={root / 'runs' / script}", *overrides],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_impressions_have_features_as_of_each_showing(tmp_path: Path) -> None:
    for script, settings in (
        ("simulate", ["size=tiny", "size.days=4", "size.users=100"]),
        ("materialize", []),
        ("impressions", [f"output={tmp_path / 'spring'}"]),
    ):
        done = run(tmp_path, script, *settings)
        assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "spring" / "data.parquet")
    assert 0.1 < rows["label"].mean() < 0.4  # type: ignore[operator]
    # Nobody's statistics or history hold the day that is not over yet.
    first = rows.filter(pl.col("shown_at").dt.date() == rows["shown_at"].dt.date().min())
    assert first["views_30d"].null_count() == len(first)
    later = rows.filter(pl.col("shown_at").dt.date() == rows["shown_at"].dt.date().max())
    assert later["views_30d"].null_count() < 0.5 * len(later)
    assert later["price_to_usual"].null_count() < len(later)

    made = SnapshotReader(tmp_path / "spring", time="shown_at").read()
    assert made.service == "ranking_v1"
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", ["experiment=recommender/dlrm", "data.path=x", "paths.root=x"])
        made.require(Fields.of(cfg.data.fields))
    assert made.features["user_statistics"]["features"]["views_7d"] == "Int64"
    assert made.features["item_content"]["key"] == "item_id"
    store = tmp_path / "data" / "features"
    assert require_same("ranker", made.features, store, "ranking_v1") == []
