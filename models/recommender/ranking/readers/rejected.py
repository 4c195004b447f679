"""Malformed lines of a stream: written where a person can look, their share limited.

What `models.recommender.rejects` is for tables that are in memory.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError

log = logging.getLogger(__name__)

MOST_KEPT = 10_000  # lines in the file; further ones are counted only
ENOUGH = 10_000  # lines after which a bad share says something about all


class RejectedLines:
    """Sets bad lines aside, block by block.

    Args:
        path: CSV file for them (source, line, reason, text); None: they are only counted.
        max_share: largest share of bad lines that a run accepts.
    """

    def __init__(self, path: Path | None, max_share: float) -> None:
        self.path = path
        self.max_share = max_share
        self.seen = self.kept = 0
        self.reasons: Counter[str] = Counter()

    def set_aside(self, rows: pl.DataFrame, source: Path) -> pl.DataFrame:
        """The rows whose `reason` is null, without `line`, `reason` and `text`.

        Raises:
            DataError: too many were bad so far.
        """
        self.seen += len(rows)
        bad = rows.filter(pl.col("reason").is_not_null())
        if len(bad):
            self.reasons.update(dict(bad["reason"].value_counts().rows()))
            self._write(bad.head(MOST_KEPT - self.kept), source)
            if self.seen >= ENOUGH:
                self._check(str(source))
        return rows.filter(pl.col("reason").is_null()).drop("line", "reason", "text")

    def finish(self, source: str) -> None:
        """Raises `DataError` where too many were bad; warns of any."""
        if not self.reasons:
            return
        self._check(source)
        if self.path is not None:
            log.warning(self._message(source))

    def _check(self, source: str) -> None:
        share = self.reasons.total() / self.seen
        if share > self.max_share:
            raise DataError(
                f"{self._message(source)}. That is {share:.1%}, more than "
                f"max_reject_share={self.max_share:.1%}"
            )

    def _message(self, source: str) -> str:
        told = ", ".join(f"{n} × {reason}" for reason, n in self.reasons.most_common())
        where = f"; see {self.path}" if self.path is not None else ""
        return f"{source}: {self.reasons.total()} of {self.seen} rows rejected ({told}){where}"

    def _write(self, bad: pl.DataFrame, source: Path) -> None:
        if self.path is None or bad.is_empty():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = bad.select(pl.lit(str(source)).alias("source"), "line", "reason", "text")
        with self.path.open("ab" if self.kept else "wb") as file:
            content.write_csv(file, include_header=not self.kept)
        self.kept += len(bad)
