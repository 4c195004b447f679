"""Rows that do not fit in memory: read, coded, shuffled and batched a block at a time.

Scales and vocabularies are taken from the first training rows; a field of an unbounded vocabulary
is hashed anyway. Shuffling reaches as far as one block.

Limits: every process reads all blocks and keeps its share of each batch, so that all have the same
number of steps; parsing is not shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from models.recommender.interactions import DataError
from models.recommender.ranking.data import PARTS, RankingData
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.examples import Batch, Examples, concatenated
from models.recommender.ranking.rows import require_columns


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


class StreamedRankingDataModule(RankingData):
    """The blocks of a reader: fitted to the first training rows, evaluated on the first others.

    Args:
        split: None; the reader knows its parts.
        name, fields, batch_size, seed, path: as `RankingData` has them.
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
        super().__init__(name, fields, batch_size, seed, path)
        self.reader = reader
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

    def read_parts(self) -> dict[str, pl.DataFrame]:
        """The first rows of each part."""
        most = dict.fromkeys(PARTS, self.reader.evaluation_rows) | {"train": self.reader.fit_rows}
        heads = {part: _head(self.reader, part, most[part]) for part in PARTS}
        require_columns(self.name, heads["train"], self.fields)
        return heads

    def describe(self) -> dict[str, Any]:
        """The hash is of the evaluated labels."""
        labels = self.test.label.numpy().astype(np.int8).tobytes()
        digest = hashlib.sha256(labels).hexdigest()
        return super().describe() | {"train_rows": "streamed", "sha256": digest}

    def train_dataloader(self) -> DataLoader[Batch]:
        batches = BlockBatches(
            self.reader,
            self.encoding,
            self.batch_size,
            self.seed,
            *self.place(),
            epoch=self._begin_pass,
        )
        return DataLoader(batches, batch_size=None)


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
