"""The sentiment benchmark on a small language: what is finished is not repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from rich.console import Console

from benchmarks.child import ChildError
from benchmarks.sentiment import finished, settings, show_quality, summary, train
from scripts.entrypoint import CONFIGS

SMALL = ["vectors=random", "model.net.dim=8", "model.net.hidden=8", "trainer.max_epochs=1",
         "logger=none"]  # fmt: skip


def config(path: Path, *overrides: str) -> DictConfig:
    """The benchmark's, with these overrides of every training."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("benchmark/sentiment", [f"path={path}", "threads=1"])
    cfg.overrides = list(overrides)
    return cfg


@pytest.fixture(scope="module")
def sst2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sst2")
    rng = np.random.default_rng(0)
    for name, rows in (("train", 120), ("dev", 40), ("test", 40)):
        lines = []
        for _ in range(rows):
            label = int(rng.integers(2))
            rest = " ".join(rng.choice("the a film plot actor scene".split(), 6))  # noqa: SIM905
            lines.append(f"{rest} {['awful', 'lovely'][label]}\t{label}\n")
        (folder / f"{name}.tsv").write_text("".join(lines))
    return folder


def test_a_finished_training_is_reused_until_its_configuration_changes(
    sst2: Path, tmp_path: Path
) -> None:
    cfg = config(sst2, *SMALL)
    runs = tmp_path / "trainings"
    first = train(cfg, "lstm", 1, runs)
    assert finished(runs / "lstm-1", settings(cfg, "lstm", 1, runs / "lstm-1")) == first
    written = (runs / "lstm-1" / "metrics.json").stat().st_mtime_ns
    assert train(cfg, "lstm", 1, runs) == first
    assert (runs / "lstm-1" / "metrics.json").stat().st_mtime_ns == written
    other = [*settings(cfg, "lstm", 1, runs / "lstm-1"), "model.net.hidden=9"]
    assert finished(runs / "lstm-1", other) is None

    row = summary([first, first])
    assert row["accuracy"] == pytest.approx(first["model"]["accuracy"])
    assert (row["accuracy_deviation"], row["seeds"]) == (0.0, 2.0)
    console = Console(record=True, width=200)
    show_quality({"lstm": row}, first["floors"], cfg, console)
    table = console.export_text()
    assert "majority" in table
    assert "0.83" in table


def test_a_student_learns_from_the_artifact_of_its_seed(sst2: Path, tmp_path: Path) -> None:
    (tmp_path / "minilm-3").mkdir()
    (tmp_path / "minilm-3" / "metrics.json").write_text(json.dumps({"artifact": "/a/teacher"}))
    chosen = settings(config(sst2), "distilled", 3, tmp_path / "distilled-3")
    assert "datamodule.teacher.artifact=/a/teacher" in chosen


def test_a_training_that_fails_says_why(sst2: Path, tmp_path: Path) -> None:
    cfg = config(sst2, "tokenizer.min_count=100000")
    with pytest.raises(ChildError, match="lower min_count"):
        train(cfg, "lstm", 1, tmp_path / "trainings")
    assert not (tmp_path / "trainings" / "lstm-1" / "metrics.json").exists()
