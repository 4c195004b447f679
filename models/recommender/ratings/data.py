"""What a rating model learns from and is tested on: each pair's newest rating, split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from models.recommender.datamodule import Reader, Splitter
from models.recommender.interactions import Interactions
from models.recommender.recognition import require_same
from models.recommender.splits import Split

log = logging.getLogger(__name__)


class RatingsData:
    """Interactions of any reader, coded, and who trains, validates and tests.

    A rating model knows its users, so that no user or item is dropped for being rare.

    Raises:
        DataError: nothing is left after reading.
    """

    interactions: Interactions
    split: Split

    def __init__(self, name: str, reader: Reader, split: Splitter) -> None:
        self.name = name
        self.reader = reader
        self.splitter = split
        self._ready = False

    def prepare(self) -> None:
        """Read and split once; later calls do nothing."""
        if self._ready:
            return
        self.interactions = read(self.reader, self.name)
        self.split = self.splitter.split(self.interactions)
        self._ready = True

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`."""
        return describe(self.name, self.interactions)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data."""
        return {"data": self.describe()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises `DataError` where a checkpoint is of other data."""
        require_same(state["data"], self.describe())


def read(reader: Reader, name: str) -> Interactions:
    """What a reader reads, coded; of a pair that is rated again, only the newest."""
    frame = reader.read()
    once = newest_of_pairs(frame)
    if len(once) < len(frame):
        again = len(frame) - len(once)
        log.warning("%d interactions repeat a pair of user and item: the newest counts", again)
    data = Interactions.from_frame(once)
    log.info("%s: %d interactions, %d users, %d items", name, len(data), data.n_users, data.n_items)
    return data


def newest_of_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Of each pair of user and item the newest row, in the order of the input.

    Of equal times the later row of the input is the newer, as everywhere.
    """
    numbered = frame.with_row_index("row")
    ordered = numbered.sort("timestamp", "row").unique(
        ["user_id", "item_id"], keep="last", maintain_order=True
    )
    return ordered.sort("row").drop("row")


def describe(name: str, data: Interactions) -> dict[str, Any]:
    """The `data` part of `metrics.json`."""
    return {"name": name, "rows": len(data), "users": data.n_users, "items": data.n_items,
            "sha256": data.sha256()}  # fmt: skip
