"""Raw tables: which days they have, how many rows, and whether a day has changed.

A day's fingerprint is of its files' names, sizes and times (or of its rows, for a table in memory),
so that computation can leave out what is up to date without reading it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple, Protocol

import ibis
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from feature_repo.dates import Dates
from feature_repo.engines import Engine
from feature_repo.store import StoreError
from feature_repo.transformations.interactions import interactions


class Partition(NamedTuple):
    """One day of a raw table."""

    rows: int
    fingerprint: str


class RawTable(Protocol):
    """What transformations read."""

    def partitions(self) -> dict[date, Partition]:
        """Every day that has rows; empty for a table that is not cut by days."""
        ...

    def fingerprint(self) -> str:
        """Of the whole table."""
        ...

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        """The rows of these days; None: all of them."""
        ...


@dataclass(frozen=True)
class WarehouseTable:
    """A Parquet table of the warehouse: `date=YYYY-MM-DD/*.parquet`, or files without days.

    Rows lie in the partition of their `timestamp`'s UTC day.

    Args:
        unique: column by which a row that was delivered twice is known; it counts once.
    """

    path: Path
    unique: str | None = None

    def exists(self) -> bool:
        return any(self._files(None))

    def partitions(self) -> dict[date, Partition]:
        days: dict[date, list[Path]] = {}
        for file in self._files(None):
            day = _day_of(file)
            if day is not None:
                days.setdefault(day, []).append(file)
        return {d: Partition(_rows(f), _fingerprint(f)) for d, f in sorted(days.items())}

    def fingerprint(self) -> str:
        return _fingerprint(self._files(None))

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        files = list(self._files(dates))
        if not files:  # no rows, but the columns of the table
            return engine.read(list(self._files(None))[:1]).limit(0)
        table = engine.read(files)
        if dates is not None:
            start, end = ibis.literal(dates.start), ibis.literal(dates.end)
            table = table.filter(table.timestamp >= start, table.timestamp < end)
        return table.distinct(on=self.unique, keep="first") if self.unique else table

    def _files(self, dates: Dates | None) -> Iterable[Path]:
        for file in sorted(self.path.rglob("*.parquet")):
            if file.name.startswith("."):  # being written
                continue
            day = _day_of(file)
            if dates is None or (day is not None and dates.first <= day <= dates.last):
                yield file


@dataclass(frozen=True)
class WarehouseReviews(WarehouseTable):
    """Reviews, with what models have said of their texts, where that is known.

    Facts are never changed: sentiment lies in a table of its own beside the reviews,
    `review_sentiment`, which scripts/score_reviews.py and scripts/stream.py task=sentiment fill. A
    row of it lies in its review's day. Of several for one review, the one scored last counts.
    """

    def _sentiment(self) -> WarehouseTable:
        return WarehouseTable(self.path.parent / "review_sentiment")

    def partitions(self) -> dict[date, Partition]:
        said = self._sentiment().partitions()
        return {
            day: Partition(part.rows, f"{part.fingerprint}+{said[day].fingerprint}")
            if day in said
            else part
            for day, part in super().partitions().items()
        }

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}+{self._sentiment().fingerprint()}"

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        """The table's columns, `sentiment` and `sentiment_version`; without any, the table's."""
        reviews = super().read(engine, dates)
        said = self._sentiment()
        if not said.exists():
            return reviews
        rows = said.read(engine, dates)
        newest = ibis.window(
            group_by="review_id",
            order_by=[ibis.desc("scored_at"), ibis.desc("sentiment_version")],
        )
        rows = rows.mutate(place=ibis.row_number().over(newest))
        rows = rows.filter(rows.place == 0).select(
            of_review=rows.review_id, said=rows.sentiment, said_by=rows.sentiment_version
        )
        joined = reviews.left_join(rows, reviews.review_id == rows.of_review)
        kept = {n: joined[n] for n in reviews.columns}
        return joined.select(
            **kept | {"sentiment": joined.said, "sentiment_version": joined.said_by}
        )


# Table of the warehouse → what a row is known by.
_TABLES = {
    "events": "message_id",
    "items": None,
    "inventory": None,
    "recommendations": None,
    "reviews": "review_id",
    "telemetry": None,
    "users": None,
}


def warehouse_tables(folder: Path) -> dict[str, WarehouseTable]:
    """The raw tables of a warehouse that transformations read."""
    kinds = {"reviews": WarehouseReviews}
    return {
        name: kinds.get(name, WarehouseTable)(folder / name, unique)
        for name, unique in _TABLES.items()
    }


@dataclass(frozen=True)
class WarehouseInteractions:
    """Touches among the warehouse's events, as training's reader of the warehouse sees them."""

    events: WarehouseTable
    names: Sequence[str]

    def partitions(self) -> dict[date, Partition]:
        return self.events.partitions()

    def fingerprint(self) -> str:
        return self.events.fingerprint()

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        return interactions(self.events.read(engine, dates), self.names)


@dataclass(frozen=True)
class WarehouseCategoryViews:
    """Views among the warehouse's events, each with its item's category in the catalog.

    An item's category is the catalog's when a day is computed; a day is not computed again because
    the catalog has changed. Items that the catalog lacks, or has no category of, do not count.
    """

    events: WarehouseTable
    items: WarehouseTable

    def partitions(self) -> dict[date, Partition]:
        return self.events.partitions()

    def fingerprint(self) -> str:
        return self.events.fingerprint()

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        """user_id, category, timestamp."""
        views = self.events.read(engine, dates).filter(
            ibis._.event == "Product Viewed", ibis._.user_id.notnull(), ibis._.item_id.notnull()
        )
        items = self.items.read(engine, None)
        # An item listed twice must not count a view twice.
        category = items.group_by(of_item=items.item_id).agg(category=items.category.max())
        joined = views.join(category, views.item_id == category.of_item)
        return joined.filter(joined.category.notnull()).select("user_id", "category", "timestamp")


class Frame:
    """Interactions in memory, from any reader; their order breaks ties of one moment.

    Args:
        table: user_id, item_id, timestamp.
    """

    def __init__(self, table: pa.Table) -> None:
        frame = pl.DataFrame(table).with_row_index("sequence")
        self._frame = frame.with_columns(
            pl.col("sequence").cast(pl.Int64), pl.col("timestamp").dt.date().alias("__day")
        )

    def partitions(self) -> dict[date, Partition]:
        hashes = self._frame.with_columns(
            self._frame.select("user_id", "item_id", "timestamp").hash_rows(1).alias("__hash")
        )
        days = hashes.group_by("__day").agg(pl.len(), pl.col("__hash").hash(2).sum())
        return {
            day: Partition(rows, str(code)) for day, rows, code in days.sort("__day").iter_rows()
        }

    def fingerprint(self) -> str:
        text = ",".join(p.fingerprint for p in self.partitions().values())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, engine: Engine, dates: Dates | None) -> Table:
        frame = self._frame
        if dates is not None:
            frame = frame.filter(pl.col("__day").is_between(dates.first, dates.last))
        return engine.arrow(frame.drop("__day").to_arrow())


def _day_of(file: Path) -> date | None:
    for part in file.parts:
        if part.startswith("date="):
            try:
                return date.fromisoformat(part.removeprefix("date="))
            except ValueError as error:
                raise StoreError(f"{file}: {part} is not date=YYYY-MM-DD") from error
    return None


def _rows(files: Iterable[Path]) -> int:
    rows = 0
    for file in files:
        try:
            rows += pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{file}: not a whole Parquet file ({error}); write it again or remove it"
            ) from error
    return rows


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]
