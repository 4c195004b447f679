"""Impressions: what was shown to whom, when, and whether a positive event followed.

A positive event counts for the last showing of the same item to the same user in the same session.
What was shown so late that its answer may still be missing is left out.

Beside each stands what its user touched just before, to the moment of the showing: what the feature
store's `user_history` holds online, where events extend it within a second, while the store's rows
of days that were computed in one go end with the day before.

Limits: all events and the lists of all showings are in memory together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

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
        touched: events that make up a history, as in `user_history`.
        recent: items of it that a showing keeps, the newest; 0: none are kept.
        collapse_repeats: of several touches in a row of the same item, the first one counts.
    """

    warehouse: str | Path
    shown: str
    positive: Sequence[str]
    within_s: float
    touched: Sequence[str] = ()
    recent: int = 0
    collapse_repeats: bool = True

    def read(self) -> pl.DataFrame:
        """impression_id, user_id, item_id, offered_price, shown_at, event_timestamp, label,
        recent_items.

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
        rows = shown.filter(settled).select(
            pl.col("message_id").alias("impression_id"),
            "user_id",
            "item_id",
            pl.col("price").cast(pl.Float64).alias("offered_price"),
            pl.col("timestamp").alias("shown_at"),
            (pl.col("timestamp") - timedelta(microseconds=1)).alias("event_timestamp"),
            pl.col("message_id").is_in(answered.implode()).cast(pl.Int64).alias("label"),
        )
        return rows.with_columns(self._recent(events, rows)) if self.recent else rows

    def _recent(self, events: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
        """What each row's user had touched by its `event_timestamp`, oldest first."""
        touches = events.filter(pl.col("event").is_in(list(self.touched))).sort(
            "user_id", "timestamp", "message_id"
        )
        if self.collapse_repeats:
            before = pl.col("item_id").shift(1).over("user_id")
            touches = touches.filter((pl.col("item_id") != before).fill_null(True))
        touches = touches.with_row_index("place").with_columns(
            pl.col("place").min().over("user_id").alias("first"), pl.col("place") + 1
        )
        found = rows.join_asof(
            touches.group_by("user_id", "timestamp").agg(pl.max("place"), pl.min("first"))
            .sort("timestamp"),
            left_on="event_timestamp", right_on="timestamp", by="user_id", check_sortedness=False,
        )  # fmt: skip
        first, end = (found[c].fill_null(0).cast(pl.Int64).to_numpy() for c in ("first", "place"))
        start = np.maximum(first, end - self.recent)
        offsets = np.r_[0, np.cumsum(end - start)]
        places = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], end - start)
        items = touches["item_id"].gather(places)
        lists = pl.from_arrow(pa.LargeListArray.from_arrays(offsets, items.to_arrow()))
        assert isinstance(lists, pl.Series), "an array becomes a series"
        return lists.alias("recent_items")

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
