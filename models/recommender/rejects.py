"""Rows that could not be used: counted, kept where a person can look, their share limited."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError

log = logging.getLogger(__name__)


@dataclass
class Rejects:
    """Set bad rows aside.

    Args:
        path: CSV file for them (source, line, reason, text); written only if there are any.
        max_share: largest share of bad rows that a run accepts.
    """

    path: Path
    max_share: float

    def set_aside(self, rows: pl.DataFrame, source: Path) -> pl.DataFrame:
        """Keep the rows whose `reason` is null; write the others (columns line, reason, text).

        Args:
            source: what was read; a column `source` names each row's own file.

        Raises:
            DataError: more than `max_share` of the rows are bad; the message counts the reasons.
        """
        bad = rows.filter(pl.col("reason").is_not_null())
        good = rows.filter(pl.col("reason").is_null())
        good = good.drop("source", "line", "reason", "text", strict=False)
        if bad.is_empty():
            return good
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if "source" not in bad.columns:
            bad = bad.with_columns(pl.lit(str(source)).alias("source"))
        bad.select("source", "line", "reason", "text").write_csv(self.path)
        counts = bad["reason"].value_counts(sort=True).rows()
        summary = ", ".join(f"{n} × {reason}" for reason, n in counts)
        share = len(bad) / len(rows)
        message = f"{source}: {len(bad)} of {len(rows)} rows rejected ({summary}); see {self.path}"
        if share > self.max_share:
            raise DataError(
                f"{message}. That is {share:.1%}, more than max_reject_share={self.max_share:.1%}: "
                "mend the rows or allow a larger share"
            )
        log.warning(message)
        return good
