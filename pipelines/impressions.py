"""Impressions: what was shown to whom, when, and whether a positive event followed.

A positive event counts for the last showing of the same item to the same user in the same session.
What was shown so late that its answer may still be missing is left out.

Limits: the events of the shown and positive kinds are in memory together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

COLUMNS = ("message_id", "event", "user_id", "session_id", "item_id", "price", "timestamp")


class ImpressionsError(ValueError):
    """Events that give no impressions; the message says what was found."""

    exit_code = 65  # EX_DATAERR


@dataclass
class Impressions:
    """Labelled impressions of a warehouse.

    Args:
        warehouse: the folder that holds `events/date=…/*.parquet`.
        shown: the event of an impression.
        positive: events that make it a positive one.
        within_s: how long after the showing they may come.
    """

    warehouse: str | Path
    shown: str
    positive: Sequence[str]
    within_s: float

    def read(self) -> pl.DataFrame:
        """impression_id, user_id, item_id, offered_price, shown_at, event_timestamp, label.

        `event_timestamp`, from which features look back, is a microsecond before the showing: an
        item that was shown is not yet part of the history.

        Raises:
            ImpressionsError: no events, a column is missing, or none of the kinds occurs.
        """
        events = self._events()
        shown = events.filter(pl.col("event") == self.shown).sort("timestamp", "message_id")
        positive = events.filter(pl.col("event").is_in(list(self.positive)))
        for name, found in ((self.shown, shown), (", ".join(self.positive), positive)):
            if found.is_empty():
                raise ImpressionsError(
                    f"{self.warehouse}: no event {name} names user and item; there are "
                    f"{sorted(events['event'].unique().to_list())}"
                )
        answered = (
            positive.sort("timestamp")
            .select("user_id", "session_id", "item_id", "timestamp")
            .join_asof(
                shown.select("user_id", "session_id", "item_id", "timestamp", "message_id"),
                on="timestamp",
                by=["user_id", "session_id", "item_id"],
                strategy="backward",
                tolerance=timedelta(seconds=self.within_s),
                check_sortedness=False,
            )["message_id"]
            .drop_nulls()
            .unique()
        )
        last = events["timestamp"].max()
        settled = pl.col("timestamp") + timedelta(seconds=self.within_s) <= last
        return shown.filter(settled).select(
            pl.col("message_id").alias("impression_id"),
            "user_id",
            "item_id",
            pl.col("price").cast(pl.Float64).alias("offered_price"),
            pl.col("timestamp").alias("shown_at"),
            (pl.col("timestamp") - timedelta(microseconds=1)).alias("event_timestamp"),
            pl.col("message_id").is_in(answered.implode()).cast(pl.Int64).alias("label"),
        )

    def _events(self) -> pl.DataFrame:
        table = Path(self.warehouse) / "events"
        if not any(table.glob("**/*.parquet")):
            raise ImpressionsError(
                f"{table}: no events; fill the warehouse first, for example with "
                "`python scripts/simulate.py size=small`"
            )
        try:
            frame = (
                pl.scan_parquet(table / "**/*.parquet", hive_partitioning=True)
                .select(COLUMNS)
                .filter(pl.col("user_id").is_not_null(), pl.col("item_id").is_not_null())
                .with_columns(pl.col("session_id").fill_null(""))  # nulls never match in a join
                .collect()
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ImpressionsError(f"{table}: cannot be read ({reason})") from error
        return frame.unique("message_id", keep="first", maintain_order=True)
