"""The sweep over the sequence family: finished stays finished, interrupted goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from rich.console import Console

from benchmarks.child import ChildError
from benchmarks.sequences import same_configuration, settings, show, train
from scripts.entrypoint import CONFIGS

SMALL = ["trainer.max_epochs=1", "model.net.dim=8", "data.split.validation_users=8", "export=none",
         "logger=none", "datamodule.max_length=8"]  # fmt: skip


def config(path: Path, *overrides: str) -> DictConfig:
    """The benchmark's, on Beauty's settings, with these overrides of every training."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("benchmark/sequences", [f"data.beauty.path={path}", "threads=1"])
    cfg.overrides = list(overrides)
    return cfg


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "Beauty.txt"
    path.write_text("".join(
        " ".join([f"u{u}", *(f"i{(u + n) % 15}" for n in range(4 + u % 5))]) + "\n"
        for u in range(30)
    ))  # fmt: skip
    return path


@pytest.mark.parametrize("data", ["beauty", "movielens_1m"])
@pytest.mark.parametrize("model", ["sasrec", "gated", "hstu", "bert4rec", "gru4rec"])
def test_every_training_of_the_sweep_composes(data: str, model: str, tmp_path: Path) -> None:
    cfg = config(tmp_path)
    cfg.data[data].path = str(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("train", settings(cfg, data, model, tmp_path / "a" / "b" / "c"))
    assert composed.name == f"{data}-{model}"
    assert ("n_blocks" in composed.model.net) == (model != "gru4rec")


def test_a_finished_training_stays_and_an_interrupted_one_goes_on(
    ring: Path, tmp_path: Path
) -> None:
    cfg = config(ring, *SMALL)
    folder = tmp_path / "beauty" / "gru4rec"
    first = train(cfg, "beauty", "gru4rec", tmp_path)
    written = (folder / "metrics.json").stat().st_mtime_ns
    assert train(cfg, "beauty", "gru4rec", tmp_path) == first
    assert (folder / "metrics.json").stat().st_mtime_ns == written
    other = [*settings(cfg, "beauty", "gru4rec", folder), "model.net.hidden=9"]
    assert not same_configuration(folder, other)

    (folder / "metrics.json").unlink()  # as if it had been stopped before the test
    again = train(cfg, "beauty", "gru4rec", tmp_path)
    assert "resuming from" in (folder / "output.txt").read_text()
    assert again["model"] == pytest.approx(first["model"])

    console = Console(record=True, width=200)
    rows = show("beauty", {"gru4rec": first}, cfg, console)
    assert rows["millrace gru4rec"] == first["model"]
    table = console.export_text()
    for part in ("floor: markov", "published: eSASRec", f"{first['model']['ndcg@10']:.4f}"):
        assert part in table


def test_a_training_that_fails_says_why(ring: Path, tmp_path: Path) -> None:
    cfg = config(ring, *SMALL, "model.objective._target_=models.recommender.objectives.Cloze")
    with pytest.raises(ChildError, match=r"objectives\.Cloze"):
        train(cfg, "beauty", "sasrec", tmp_path)
    assert not (tmp_path / "beauty" / "sasrec" / "metrics.json").exists()
