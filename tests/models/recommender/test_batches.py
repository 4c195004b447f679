"""Order of batches: another one each epoch, the same one after a resume, none lost to ranks."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytorch_lightning as lightning
import torch
from torch import Tensor

from models.recommender.batches import RunBatches
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.histories import Histories
from models.recommender.splits import LeaveOneOut


class Walks:
    """Forty users of four to nine items each."""

    def read(self) -> pl.DataFrame:
        rows = [(f"u{u}", f"i{(u + n) % 17}") for u in range(40) for n in range(4 + u % 6)]
        frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
        times = pl.int_range(pl.len()).cast(pl.Datetime("us", "UTC"))
        return frame.with_columns(timestamp=times)


class Recorder(lightning.LightningModule):
    """Keeps what each epoch was given; learns one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[list[int]]] = {}

    def training_step(self, run: Tensor, batch_index: int) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).append(run.flatten().tolist())
        return (self.weight - 1).square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(
    folder: Path, epochs: int, resume: Path | None = None, overfit: float = 0.0
) -> dict[int, list[list[int]]]:
    """What each epoch of a real Trainer saw."""
    data = InteractionsDataModule("walks", Walks(), LeaveOneOut(), max_length=5, batch_size=4)
    model = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_val_batches=0,
        overfit_batches=overfit,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[lightning.callbacks.ModelCheckpoint(folder, save_last=True)],
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume)
    return model.seen


def test_every_epoch_has_an_order_of_its_own_and_the_same_rows(tmp_path: Path) -> None:
    seen = fit(tmp_path, 3)
    assert list(seen) == [0, 1, 2]
    assert seen[0] != seen[1] != seen[2] != seen[0]
    items = [sorted(i for batch in seen[e] for i in batch if i) for e in seen]
    assert items[0] == items[1] == items[2]


def test_a_resumed_run_sees_the_order_of_the_epoch_it_is_in(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", 3)
    fit(tmp_path / "part", 1)
    rest = fit(tmp_path / "part", 3, resume=tmp_path / "part" / "last.ckpt")
    assert rest == {1: whole[1], 2: whole[2]}


def test_overfitting_gets_the_same_batches_again(tmp_path: Path) -> None:
    seen = fit(tmp_path, 2, overfit=2)
    assert len(seen[0]) == 2
    assert seen[0] == seen[1]


def test_ranks_share_one_order() -> None:
    lengths = torch.arange(2, 26)
    end = lengths.cumsum(0)
    runs = Histories(torch.arange(1, int(end[-1]) + 1), end - lengths, end)
    epoch = 7

    def rows(rank: int, world: int) -> list[list[int]]:
        batches = RunBatches(
            runs, batch_size=3, pool=2, seed=1, rank=rank, world=world, epoch=lambda: epoch
        )
        return [batch[:, 0].tolist() for batch in batches]

    assert [b for pair in zip(rows(0, 2), rows(1, 2), strict=True) for b in pair] == rows(0, 1)
