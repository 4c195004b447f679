"""Rows from any reader, split by time; everything is in memory.

Limits: about 4 bytes a number and 8 bytes an id; larger data are streamed, see `stream.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import polars as pl
from torch.utils.data import DataLoader

from models.recommender.batches import due_epoch
from models.recommender.ranking.data import PARTS, RankingData
from models.recommender.ranking.examples import Batch
from models.recommender.ranking.rows import RowReader, Rows
from models.recommender.splits import Split, Timed


class TimeSplitter(Protocol):
    """Anything that tells training, validation and test rows apart by their moments."""

    def split(self, data: Timed) -> Split: ...


class RankingDataModule(RankingData):
    """Rows of a reader.

    Args:
        reader, split: parts chosen by the config; the split looks at times only.
        name, fields, batch_size, seed, path: as `RankingData` has them.
    """

    rows: Rows

    def __init__(
        self,
        name: str,
        reader: RowReader,
        split: TimeSplitter,
        fields: Mapping[str, Mapping[str, Any] | None],
        batch_size: int,
        seed: int = 0,
        path: str | None = None,
    ) -> None:
        super().__init__(name, fields, batch_size, seed, path)
        self.reader = reader
        self.splitter = split

    def read_parts(self) -> dict[str, pl.DataFrame]:
        self.rows = self.reader.read()
        self.rows.require(self.fields)
        split = self.splitter.split(self.rows)
        return {part: self.rows.frame.filter(getattr(split, part)) for part in PARTS}

    def trained_on(self) -> tuple[str | None, dict[str, Any]]:
        """As far as the fields read."""
        return self.rows.service, dict(self.rows.features)

    def describe(self) -> dict[str, Any]:
        rows = {"rows": len(self.rows.frame), "sha256": self.rows.sha256()}
        return super().describe() | rows

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.train, self.batch_size, self.seed, lambda: due_epoch(self.trainer))
