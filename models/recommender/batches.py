"""Batches of training runs, gathered on the device that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from models.recommender.histories import Histories


def due_epoch(trainer: Any) -> int:
    """Which order of batches is due: the trainer's epoch, also after a resume.

    Lightning tells samplers the epoch, and never an iterable data set, so that those ask it here.
    Overfitting wants the same batches again.
    """
    return 0 if trainer is None or trainer.overfit_batches else int(trainer.current_epoch)


class RunBatches(IterableDataset[Any]):
    """Shuffled batches of runs, right-padded to the longest of each batch, [B, ≤ length + 1].

    Runs are shuffled, then sorted by length within pools of `pool` batches, then the batches are
    shuffled: lengths in a batch are alike, which saves most of the padding, and the order stays
    random. Under distributed training each rank takes every n-th batch of the same order.

    Args:
        epoch: asked when a pass begins; the order depends on it: see `due_epoch`.
    """

    def __init__(
        self,
        runs: Histories,
        batch_size: int,
        pool: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self.runs = runs
        self.batch_size = batch_size
        self.pool = pool
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds()) // self.world or 1

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        order = torch.randperm(len(self.runs), generator=generator)
        lengths = self.runs.lengths.cpu()
        for chunk in order.split(self.batch_size * self.pool):
            chunk.copy_(chunk[torch.argsort(lengths[chunk], stable=True)])
        batches = list(order.split(self.batch_size))
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        if len(batches) >= self.world:
            shuffled = shuffled[: len(batches) - len(batches) % self.world]
        mine = shuffled[self.rank :: self.world] or shuffled[:1]
        device = self.runs.items.device
        for i in mine:
            yield self.batch(batches[i].to(device))

    def batch(self, rows: Tensor) -> Any:
        """What a model is given of these runs [B]."""
        return self.runs.take(rows).pad("right")

    def _bounds(self) -> range:
        return range(0, len(self.runs), self.batch_size)
