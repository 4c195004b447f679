"""What lies in quarantine: how much, since when, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq

from feature_repo.quality.rules import BROKEN, REASON, STAMP
from feature_repo.store import StoreError
from feature_repo.view import View


class Rejected(NamedTuple):
    """Rows of one view in quarantine.

    Args:
        rows: in all.
        recent: rejected within the time asked for.
        newest: when the last one was rejected.
    """

    rows: int
    recent: int
    newest: datetime | None


class Files(NamedTuple):
    """Quarantine's files of one view with their moments, oldest first."""

    found: list[tuple[datetime, Path]]

    @classmethod
    def of(cls, store: Path, view: View) -> Files:
        paths = sorted((store / "quarantine" / view.full_name).glob("*.parquet"))
        return cls([(_moment(p), p) for p in paths])


def rejected(
    store: Path, view: View, now: datetime, within: timedelta = timedelta(days=1)
) -> Rejected:
    """Counts, from the files' footers alone.

    Raises:
        StoreError: a file that cannot be read.
    """
    counts = [(moment, _rows(path)) for moment, path in Files.of(store, view).found]
    return Rejected(
        sum(n for _, n in counts),
        sum(n for moment, n in counts if now - within <= moment),
        max((moment for moment, _ in counts), default=None),
    )


def summary(store: Path, view: View) -> pl.DataFrame:
    """`rule`, `rows` that break it, when `first` and `last`; the most frequent first.

    Raises:
        StoreError: a file that cannot be read.
    """
    parts = [
        frame.select(pl.col(BROKEN).alias("rule"), pl.lit(moment).alias("moment"))
        for moment, frame in _read(store, view)
    ]
    if not parts:
        return pl.DataFrame(schema={"rule": pl.String, "rows": pl.UInt32})
    rules = pl.concat(parts).explode("rule")
    return (
        rules.group_by("rule")
        .agg(
            pl.len().alias("rows"),
            pl.col("moment").min().alias("first"),
            pl.col("moment").max().alias("last"),
        )
        .sort("rows", "rule", descending=[True, False])
    )


def newest(store: Path, view: View, limit: int) -> pl.DataFrame:
    """The rows rejected last, with all their columns and `rejected_at`."""
    taken: list[pl.DataFrame] = []
    rows = 0
    for moment, path in reversed(Files.of(store, view).found):
        frame = _frame(path).tail(limit - rows)
        taken.append(frame.with_columns(pl.lit(moment).alias("rejected_at")))
        rows += len(frame)
        if rows >= limit:
            break
    return pl.concat(taken, how="diagonal_relaxed") if taken else pl.DataFrame()


def _read(store: Path, view: View) -> list[tuple[datetime, pl.DataFrame]]:
    return [(moment, _frame(path)) for moment, path in Files.of(store, view).found]


def _frame(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if BROKEN not in frame.columns:  # the reason alone says what is wrong
        frame = frame.with_columns(pl.concat_list(REASON).alias(BROKEN))
    return frame


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error})") from error


def _moment(path: Path) -> datetime:
    """When a file was made, from its name, or else from the file system."""
    try:
        return datetime.strptime(path.stem.split("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
