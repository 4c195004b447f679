"""Interactions from the warehouse: chosen events of the `events` table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers.files import MissingInputError


@dataclass
class WarehouseReader:
    """Read events that say "this user touched this item".

    Args:
        path: the warehouse folder, which holds `events/date=…/*.parquet`.
        events: names to keep, as in Segment's e-commerce specification.
        collapse_repeats: keep one of several consecutive touches of the same item.
    """

    path: str | Path
    events: Sequence[str]
    collapse_repeats: bool = True

    def read(self) -> pl.DataFrame:
        """Columns user_id, item_id, rating (null), timestamp, in time order.

        Raises:
            MissingInputError: there is no events table.
            DataError: a file cannot be read, or none of the events occurs.
        """
        table = Path(self.path) / "events"
        if not any(table.glob("**/*.parquet")):
            raise MissingInputError(
                f"{table}: no events; fill the warehouse first, for example with "
                "`python scripts/simulate.py size=small`"
            )
        try:
            frame = (
                pl.scan_parquet(table / "**/*.parquet", hive_partitioning=True)
                .filter(pl.col("event").is_in(list(self.events)))
                .filter(pl.col("user_id").is_not_null(), pl.col("item_id").is_not_null())
                .select("user_id", "item_id", "timestamp", "message_id")
                .sort("timestamp", "message_id")
                .collect()
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{table}: cannot be read ({str(error).splitlines()[0]})") from error
        if frame.is_empty():
            raise DataError(f"{table}: none of the events {list(self.events)} names user and item")
        frame = frame.unique("message_id", keep="first", maintain_order=True)
        if self.collapse_repeats:
            previous = pl.col("item_id").shift(1).over("user_id")
            frame = frame.filter((pl.col("item_id") != previous).fill_null(True))
        return frame.select(
            "user_id",
            "item_id",
            pl.lit(None, dtype=pl.Float32).alias("rating"),
            pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
        )
