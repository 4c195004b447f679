"""Interactions from any reader, split, coded and batched on the training device.

The whole training set is three integer tensors there; a batch is one gather. No worker process and
no per-row Python is involved.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from models.recommender.batches import RunBatches, due_epoch
from models.recommender.evaluation import RankingTask
from models.recommender.histories import Histories
from models.recommender.interactions import Interactions
from models.recommender.k_core import k_core
from models.recommender.oddities import oddities
from models.recommender.recognition import require_same
from models.recommender.splits import Split

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Anything that reads interactions: user_id, item_id, rating, timestamp."""

    def read(self) -> pl.DataFrame: ...


class Splitter(Protocol):
    """Anything that tells training, validation and test interactions apart."""

    def split(self, data: Interactions) -> Split: ...


class InteractionsDataModule(lightning.LightningDataModule):
    """Read, filter, split and code interactions; serve training runs and ranking tasks.

    Args:
        reader, split: parts chosen by the config.
        max_length: items a model reads at once, T.
        segments: "last" trains on each user's most recent T + 1 items, "all" cuts longer histories
            into several runs, so that every interaction is a target once an epoch.
        exclude_from_metrics: a file of user ids, one a line; they train but are not measured.
        k_core: drop users and items with fewer interactions than this, repeatedly; 0 keeps all.

    Raises:
        DataError: nothing is left to train on, or nothing to evaluate.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        split: Splitter,
        max_length: int,
        batch_size: int,
        segments: str = "all",
        k_core: int = 0,
        exclude_from_metrics: str | Path | None = None,
        pool: int = 16,
        seed: int = 0,
        path: str | None = None,
    ) -> None:
        super().__init__()
        if segments not in ("all", "last"):
            raise ValueError(f"segments must be 'all' or 'last', not {segments!r}")
        self.name = name
        self.reader = reader
        self.splitter = split
        self.max_length = max_length
        self.batch_size = batch_size
        self.segments = segments
        self.k_core = k_core
        self.exclude_from_metrics = exclude_from_metrics
        self.pool = pool
        self.seed = seed
        self.path = path
        self._ready = False
        self._state: dict[str, Any] = {}

    def prepare(self) -> None:
        """Read and split once; later calls do nothing."""
        if self._ready:
            return
        started = time.perf_counter()
        frame = self.reader.read()
        if self.k_core:
            frame = k_core(frame, self.k_core)
        self.interactions = Interactions.from_frame(frame)
        parts = self.splitter.split(self.interactions)
        data = self.interactions
        excluded = self._excluded_users()
        self.train = parts.train
        self.known = parts.train | parts.validation
        self.histories = Histories.of_users(data, parts.train)
        self.validation_task = RankingTask.build(data, parts.train, parts.validation, excluded)
        self.test_task = RankingTask.build(data, self.known, parts.test, excluded)
        self._ready = True
        log.info(
            "%s: %d interactions, %d users, %d items; train %d, validate %d, test %d (%.1f s)",
            self.name,
            len(data),
            data.n_users,
            data.n_items,
            int(parts.train.sum()),
            len(self.validation_task),
            len(self.test_task),
            time.perf_counter() - started,
        )
        for sentence in oddities(
            data, parts.train, self.known, parts.test, len(self.test_task), excluded
        ):
            log.info("%s: %s", self.name, sentence)

    @property
    def n_items(self) -> int:
        return self.interactions.n_items

    def model_arguments(self) -> dict[str, int]:
        """What a model can know only from the data."""
        return {"n_items": self.n_items}

    def known_items(self) -> Tensor:
        """Graph ids of all training and validation interactions [M]."""
        return torch.from_numpy(self.interactions.item[self.known])

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`: name, rows and a hash of the coded interactions."""
        data = self.interactions
        return {
            "name": self.name,
            "rows": len(data),
            "users": data.n_users,
            "items": data.n_items,
            "sha256": data.sha256(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data; computed once."""
        self._state = self._state or {"data": self.describe()}
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises `DataError` where a checkpoint is of other data."""
        require_same(state_dict["data"], self.state_dict()["data"])

    def setup(self, stage: str) -> None:
        self.prepare()

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        runs = self.histories.to(device)
        length = self.max_length + 1
        runs = runs.split(length) if self.segments == "all" else runs.recent(length)
        runs = runs.take((runs.lengths > 1).nonzero().flatten())
        batches = self._batches(
            runs,
            batch_size=self.batch_size,
            pool=self.pool,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            epoch=lambda: due_epoch(self.trainer),
        )
        return DataLoader(batches, batch_size=None)

    def _batches(self, runs: Histories, **settings: Any) -> RunBatches:
        """What serves the training runs."""
        return RunBatches(runs, **settings)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One empty batch: the model ranks its whole task when the epoch ends."""
        return DataLoader([torch.zeros(1)], batch_size=None)  # type: ignore[arg-type]

    def _excluded_users(self) -> np.ndarray | None:
        path = self.exclude_from_metrics or getattr(self.reader, "exclude_from_metrics", None)
        if path is None:
            return None
        listed = Path(path).read_text(encoding="utf-8").split()
        found = self.interactions.user_ids.is_in(listed).to_numpy()
        log.info("%s: %d of %d listed users left out of metrics", path, found.sum(), len(listed))
        return found
