"""Order of a ranker's batches: another one each epoch, the same one after a resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from hydra.utils import instantiate

from models.recommender.ranking.stream import StreamedRankingDataModule
from tests.models.recommender.ranking.snapshots import snapshot
from tests.models.recommender.ranking.test_criteo import FIELDS, kaggle, reader
from tests.models.recommender.ranking.test_training import config


class Recorder(lightning.LightningModule):
    """Keeps what each epoch was given; learns one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[Any]] = {}

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).append(batch.dense.nan_to_num(-9).tolist())
        return (self.weight - 1).square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def rows(folder: Path) -> lightning.LightningDataModule:
    source = folder / "snapshot"
    cfg = config(source if source.exists() else snapshot(source), folder)
    data: lightning.LightningDataModule = instantiate(cfg.datamodule)
    return data


def stream(folder: Path) -> lightning.LightningDataModule:
    folder.mkdir(parents=True, exist_ok=True)
    source = reader(kaggle(folder / "train.txt"), block_mb=0.05)
    return StreamedRankingDataModule("c", source, None, FIELDS, batch_size=64)


def fit(
    make: Callable[[Path], lightning.LightningDataModule], folder: Path, epochs: int, resume: bool
) -> dict[int, list[Any]]:
    model = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, limit_val_batches=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=[lightning.callbacks.ModelCheckpoint(folder, save_last=True)],
    )  # fmt: skip
    last = folder / "last.ckpt" if resume else None
    trainer.fit(model, datamodule=make(folder / "data"), ckpt_path=last)
    return model.seen


@pytest.mark.parametrize("make", [rows, stream])
def test_every_epoch_has_its_order_and_a_resumed_run_goes_on_with_it(
    make: Callable[[Path], lightning.LightningDataModule], tmp_path: Path
) -> None:
    whole = fit(make, tmp_path / "whole", 2, resume=False)
    assert whole[0] != whole[1]
    fit(make, tmp_path / "part", 1, resume=False)
    assert fit(make, tmp_path / "part", 2, resume=True) == {1: whole[1]}
