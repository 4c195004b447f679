"""Which rows of a view's offline table are looked at."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from feature_repo.computation import view_files
from feature_repo.quality.schema import polars_schema
from feature_repo.store import StoreError
from feature_repo.view import TIME, View


class Window(NamedTuple):
    """Moments from `start` on and up to `end`, which is included: midnights end a day."""

    start: datetime
    end: datetime


def rows_of(view: View, store: Path, window: Window, max_rows: int) -> pl.DataFrame:
    """Rows of a window; of a view that is not cut by days, each key's newest as of its end.

    Args:
        max_rows: of more, every n-th row is taken.

    Raises:
        StoreError: a file that cannot be read.
    """
    files = [f for day, f in view_files(view, store) if day is None or _near(day, window)]
    if not files:
        return pl.DataFrame(schema=polars_schema(view))
    moment = pl.col(TIME)
    lazy = scan(files).filter(moment <= window.end)
    if view.partitioned:
        lazy = lazy.filter(moment > window.start)
    else:
        lazy = lazy.group_by(view.key).agg(pl.exclude(view.key).sort_by(TIME).last())
    count = collect(view, lazy.select(pl.len())).item()
    step = -(-count // max_rows) if count > max_rows else 1
    frame = collect(view, lazy.gather_every(step) if step > 1 else lazy)
    return frame.with_columns(
        pl.lit(None, dtype).alias(n) for n, dtype in polars_schema(view).items() if n not in frame
    )


def scan(files: list[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(
        files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore"
    )


def collect(view: View, lazy: pl.LazyFrame) -> pl.DataFrame:
    """Raises: StoreError: a file that cannot be read."""
    try:
        return lazy.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"view {view.full_name}: offline rows cannot be read ({reason})"
        ) from error


def _near(day: object, window: Window) -> bool:
    """Rows of a day carry its moments, or the midnight that ends it."""
    first, last = window.start.date() - timedelta(days=1), window.end.date()
    return first <= day <= last  # type: ignore[operator]
