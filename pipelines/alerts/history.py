"""Where a plot's numbers come from: the scores and thresholds of one source's events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
import sqlalchemy as sa
from numpy.typing import NDArray


class ScoreSeries(NamedTuple):
    """N events of one source, rising in time.

    Args:
        time: [N] microseconds since 1970 UTC.
        score: [N]; NaN: could not be scored.
        threshold: [N] that was in force.
    """

    time: NDArray[np.int64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]

    @classmethod
    def none(cls) -> ScoreSeries:
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0))


class ScoreHistory(Protocol):
    def read(self, source: str, since: int, until: int) -> ScoreSeries:
        """The events with since <= time <= until, microseconds.

        Raises:
            OSError: they cannot be read; a message then goes without a plot, and says so.
        """
        ...


class NoHistory:
    """For where no scores are kept."""

    def __init__(self, store: sa.Engine) -> None:
        pass

    def read(self, source: str, since: int, until: int) -> ScoreSeries:
        return ScoreSeries.none()


class StoredScores:
    """What the stream processor keeps of every event.

    Args:
        reader: `read_scores(folder, store, since, until, source)`, a frame with the columns
            timestamp, score and threshold; since included, until not.
        folder: of the warehouse's `scores` table.
    """

    def __init__(self, store: sa.Engine, reader: Callable[..., pl.DataFrame], folder: str) -> None:
        self._store = store
        self._reader = reader
        self._folder = folder

    def read(self, source: str, since: int, until: int) -> ScoreSeries:
        start, end = (datetime.fromtimestamp(t / 1e6, UTC) for t in (since, until + 1))
        frame = self._reader(self._folder, self._store, start, end, source).sort("timestamp")
        number = pl.col("score", "threshold").cast(pl.Float64).fill_null(float("nan"))
        frame = frame.with_columns(number, pl.col("timestamp").dt.epoch("us"))
        return ScoreSeries(
            *(frame[name].to_numpy() for name in ("timestamp", "score", "threshold"))
        )
