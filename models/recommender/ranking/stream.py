"""Rows that do not fit in memory: read, coded, shuffled and batched a block at a time.

Scales and vocabularies are taken from the first training rows; a field of an unbounded vocabulary
is hashed anyway. Shuffling reaches as far as one block.

Limits: every process reads all blocks and keeps its share of each batch, so that all have the same
number of steps; parsing is not shared.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

from models.recommender.interactions import DataError
from models.recommender.ranking.datamodule import RowBatches
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.examples import Batch, Examples, concatenated
from models.recommender.ranking.fields import Fields
from models.recommender.ranking.rows import require_columns
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.vocabularies import encoding_of

log = logging.getLogger(__name__)


class BlockReader(Protocol):
    """Anything that gives parts of a data set as a stream of frames."""

    fit_rows: int
    evaluation_rows: int

    def blocks(self, part: str, tell: bool = True) -> Iterator[pl.DataFrame]: ...


class BlockBatches(IterableDataset[Batch]):
    """Batches of a stream, shuffled within blocks; the last, incomplete one is left out.

    Args:
        batch_size: rows a step, of all processes together.
        epoch: asked when a pass begins; the order depends on it.
    """

    def __init__(
        self,
        reader: BlockReader,
        encoding: Encoding,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        if batch_size % world:
            raise DataError(f"batch_size {batch_size} cannot be shared by {world} processes")
        self.reader = reader
        self.encoding = encoding
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        first = self.rank == 0 and epoch == 0
        rest: list[Examples] = []
        for frame in self.reader.blocks("train", tell=first):
            if frame.is_empty():
                continue
            block = concatenated([*rest, Examples.of(self.encoding, frame)])
            order = torch.randperm(len(block), generator=generator)
            whole = len(block) - len(block) % self.batch_size
            for rows in order[:whole].split(self.batch_size):
                yield block.take(rows[self.rank :: self.world])
            rest = [block.only(order[whole:])]


class StreamedRankingDataModule(lightning.LightningDataModule):
    """What `RankingDataModule` is, for a reader of blocks.

    Args:
        split: None; the reader knows its parts.
        batch_size: rows a step, of all processes together.

    Raises:
        DataError: nothing to learn from or to evaluate on; a field without a column.
    """

    def __init__(
        self,
        name: str,
        reader: BlockReader,
        split: None,
        fields: Mapping[str, Mapping[str, Any] | None],
        batch_size: int,
        seed: int = 0,
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.name: str = name
        self.reader = reader
        self.fields = Fields.of(fields)
        self.batch_size = batch_size
        self.seed = seed
        self.path = path
        self._ready = False
        self._passes = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: how many passes have begun."""
        return {"passes": self._passes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._passes = int(state_dict["passes"])

    def _begin_pass(self) -> int:
        """The number of the pass that begins.

        Counted here: of a loader without a length Lightning takes the first batch before it has
        found out in which epoch a resumed run is.
        """
        self._passes += 1
        return self._passes - 1

    def prepare(self) -> None:
        """Fit to the first training rows, and keep some rows to evaluate on."""
        if self._ready:
            return
        started = time.perf_counter()
        heads = {
            part: _head(self.reader, part, most)
            for part, most in (
                ("train", self.reader.fit_rows),
                ("validation", self.reader.evaluation_rows),
                ("test", self.reader.evaluation_rows),
            )
        }
        for part, head in heads.items():
            if head["label"].n_unique() < 2:
                raise DataError(
                    f"{self.name}: the {part} part has {len(head)} rows, "
                    f"{int(head['label'].sum() or 0)} of them positive; each part needs rows of "
                    "both kinds"
                )
        require_columns(self.name, heads["train"], self.fields)
        self.encoding = encoding_of(self.fields, heads["train"])
        self.train, self.validation, self.test = (
            Examples.of(self.encoding, head) for head in heads.values()
        )
        self._test_rows = heads["test"].head(10_000)
        self.shape = Shape.of(self.encoding, self.train.dense.numpy(), self.train.label.numpy())
        self._ready = True
        log.info(
            "%s: fitted to %d rows; validate %d, test %d; %d fields, %d table rows (%.1f s)",
            self.name,
            *(len(part) for part in (self.train, self.validation, self.test)),
            len(self.fields.all),
            sum(t.rows for t in self.shape.tables),
            time.perf_counter() - started,
        )

    def model_arguments(self) -> dict[str, Any]:
        """What a model can know only from the data."""
        return {"shape": self.shape}

    def samples(self, n: int) -> pl.DataFrame:
        """At most `n` raw test rows: `label` and each field."""
        names = ["label", *(f.name for f in self.fields.all)]
        return self._test_rows.select(names).head(n)

    def trained_on(self) -> tuple[str | None, dict[str, Any]]:
        """No feature store."""
        return None, {}

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`; the hash is of the evaluated labels."""
        labels = self.test.label.numpy().astype(np.int8).tobytes()
        return {
            "name": self.name,
            "train_rows": "streamed",
            "test_rows": len(self.test),
            "test_positives": int(self.test.label.sum()),
            "fields": [f.name for f in self.fields.all],
            "sha256": hashlib.sha256(labels).hexdigest(),
        }

    def setup(self, stage: str) -> None:
        self.prepare()

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world = self._place()
        batches = BlockBatches(
            self.reader,
            self.encoding,
            self.batch_size,
            self.seed,
            rank=rank,
            world=world,
            epoch=self._begin_pass,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        rank, world = self._place()
        size = max(self.batch_size, 8192)
        batches = RowBatches(self.validation, size, None, rank=rank, world=world)
        return DataLoader(batches, batch_size=None)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def _head(reader: BlockReader, part: str, most: int) -> pl.DataFrame:
    """The first rows of a part."""
    parts: list[pl.DataFrame] = []
    rows = 0
    for frame in reader.blocks(part):
        parts.append(frame.head(most - rows))
        rows += len(parts[-1])
        if rows >= most:
            break
    if not rows:
        raise DataError(f"the {part} part has no rows")
    return pl.concat(parts)
