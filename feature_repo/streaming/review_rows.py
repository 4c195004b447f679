"""An item's `item_review_sentiment` as of its last review, from warehouse and journal together.

What batch would write for the midnight that ends the last review's day, if nothing came after it;
so the day's last pushed row and batch's say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.dates import day_number
from feature_repo.governance.erasures import Erased
from feature_repo.store import StoreError
from feature_repo.transformations.item_review_sentiment import WINDOWS
from feature_repo.view import TIME

DAY_US = 86_400_000_000
_MOMENT = pl.Datetime("us", "UTC")
_REVIEW: dict[str, Any] = {
    "review_id": pl.String, "user_id": pl.String, "item_id": pl.String, "stars": pl.Float64,
    "timestamp": _MOMENT,
}  # fmt: skip
_SAID: dict[str, Any] = {"review_id": pl.String, "sentiment": pl.Float64, "scored_at": _MOMENT}


def rows_of(
    items: Sequence[str], judged: Sequence[Mapping[str, Any]], warehouse: Path, erased: Erased
) -> pl.DataFrame:
    """One row an item that has reviews: item_id, the view's features, `event_timestamp`.

    Args:
        judged: all reviews of these items in the journal.

    Raises:
        StoreError: a file of the warehouse cannot be read, or has just been replaced.
    """
    journal = pl.DataFrame(
        [{**r, "stars": float(r["stars"])} for r in judged],
        schema={**_REVIEW, "timestamp": pl.Int64, "sentiment": pl.Float64, "scored_at": pl.Int64},
    ).with_columns(pl.col("timestamp", "scored_at").cast(_MOMENT))
    if journal.is_empty():
        return _sums(journal)
    first = int(journal["timestamp"].cast(pl.Int64).min()) // DAY_US - max(WINDOWS)  # type: ignore[arg-type]
    reviews = _read(warehouse / "reviews", items, first, _REVIEW)
    said = _read(warehouse / "review_sentiment", items, first, _SAID)
    reviews = pl.concat([journal.select(*_REVIEW), reviews]).unique("review_id", keep="first")
    said = pl.concat([said, journal.select(*_SAID)])
    said = said.sort("scored_at").unique("review_id", keep="last", maintain_order=True)
    known = reviews.join(said.drop("scored_at"), on="review_id", how="left")
    if erased.seconds:
        stays = [
            user is None or not erased.covers(user, moment)
            for user, moment in known.select("user_id", "timestamp").iter_rows()
        ]
        known = known.filter(pl.Series(stays, dtype=pl.Boolean))
    return _sums(known)


def _sums(known: pl.DataFrame) -> pl.DataFrame:
    day = pl.col("timestamp").cast(pl.Int64) // DAY_US
    said = pl.coalesce("sentiment", (pl.col("stars") - 3) / 2)
    placed = known.with_columns(said=said, age=day.max().over("item_id") - day)
    features = []
    for days in WINDOWS:
        recent = pl.col("age") < days
        features += [
            recent.sum().cast(pl.Int64).alias(f"reviews_{days}d"),
            pl.col("stars").filter(recent).mean().alias(f"stars_{days}d"),
            pl.col("said").filter(recent).mean().alias(f"sentiment_{days}d"),
        ]
    moment = pl.col("timestamp").max().alias(TIME)
    return placed.group_by("item_id").agg(*features, moment).sort("item_id")


def _read(
    table: Path, items: Sequence[str], first: int, columns: Mapping[str, Any]
) -> pl.DataFrame:
    """Rows of these items from a day (since 1970) on."""
    files = [
        file
        for folder in table.glob("date=*")
        if day_number(date.fromisoformat(folder.name.removeprefix("date="))) >= first
        for file in folder.glob("*.parquet")
        if not file.name.startswith(".")
    ]
    if not files:
        return pl.DataFrame(schema=dict(columns))
    try:
        return (
            pl.scan_parquet(
                files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore"
            )
            .filter(pl.col("item_id").is_in(list(items)))
            .select(pl.col(n).cast(t) for n, t in columns.items())
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreError(f"{table}: cannot be read ({str(error).splitlines()[0]})") from error
