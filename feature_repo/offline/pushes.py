"""Pushed rows in the offline tables: small files beside what computation writes.

`offline/<view>/day=YYYY-MM-DD/push-….parquet`, by the day of `event_timestamp`, in the types of the
view. Computation leaves them: they are what was known during the day. Of two rows of one moment,
the one created last counts, wherever it lies.
"""

from __future__ import annotations

import difflib
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

log = logging.getLogger(__name__)

TIME, CREATED, DAY = "event_timestamp", "created_timestamp", "day"
_MOMENT = pl.Datetime("us", "UTC")


class PushError(ValueError):
    """Rows that a view cannot take."""

    exit_code = 65  # EX_DATAERR


def append_rows(folder: Path, view: Any, table: pa.Table) -> list[Path]:
    """Write rows into a view's folder; returns the files, one a day.

    Args:
        view: Feast's feature view.
        table: keys, features, `event_timestamp` and, if it is known, `created_timestamp`.

    Raises:
        PushError: an unknown or a missing column, a time without a zone, or values of other types.
    """
    schema = {column.name: _polars_type(column.dtype) for column in view.entity_columns}
    schema |= {feature.name: _polars_type(feature.dtype) for feature in view.features}
    schema |= {TIME: _MOMENT, CREATED: _MOMENT}
    frame = pl.DataFrame(table)
    if CREATED not in frame.columns:
        frame = frame.with_columns(pl.lit(datetime.now(UTC)).alias(CREATED))
    check_columns(view.name, frame.columns, list(schema))
    for name in (TIME, CREATED):
        dtype = frame.schema[name]
        if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
            raise PushError(
                f"view {view.name}: {name} is {dtype}; it must be a time with a zone, such as UTC"
            )
    try:
        typed = frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise PushError(
            f"view {view.name}: values of other types than the view's ({reason})"
        ) from error
    if typed[TIME].has_nulls():
        raise PushError(f"view {view.name}: {TIME} is null in {typed[TIME].null_count()} rows")
    files = []
    name = f"push-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
    for (day,), part in typed.group_by(pl.col(TIME).dt.date(), maintain_order=True):
        path = folder / f"{DAY}={day}" / name
        put(part.sort(*(c.name for c in view.entity_columns), TIME), path)
        files.append(path)
    return files


def check_columns(view: str, given: Sequence[str], accepted: Sequence[str]) -> None:
    """Raise `PushError`, with the nearest names, unless the columns are those accepted."""
    unknown = [c for c in given if c not in accepted]
    if unknown:
        near = difflib.get_close_matches(unknown[0], accepted, n=2, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise PushError(
            f"view {view} has no field {', '.join(unknown)}{hint} (it has {', '.join(accepted)})"
        )
    missing = [c for c in accepted if c not in given]
    if missing:
        raise PushError(f"view {view}: a push must also have {', '.join(missing)}")


def put(frame: pl.DataFrame, path: Path) -> None:
    """Write beside the goal and rename: readers never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid.uuid4().hex[:8]}.partial")
    try:
        frame.write_parquet(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def merge(folder: Path, prefix: str, most_files: int, unique: str | None = None) -> int:
    """Make one file of a folder's files `<prefix>-…`, if they are too many; returns how many went.

    Rows are first kept in the new file, then removed with the old ones: a job killed between leaves
    rows twice, never loses one. A reader that has listed an old file already fails and asks again.

    Args:
        unique: column by which rows that are there twice are known.
    """
    files = sorted(folder.glob(f"{prefix}-*.parquet"))
    if len(files) <= most_files:
        return 0
    try:
        frame = pl.concat(
            [pl.read_parquet(f, hive_partitioning=False) for f in files], how="diagonal"
        )
    except (OSError, pl.exceptions.PolarsError) as error:  # another job merges them too
        log.info("%s: not merged now (%s)", folder, str(error).splitlines()[0])
        return 0
    frame = frame.unique(unique, keep="first", maintain_order=True) if unique else frame
    put(frame, folder / f"{prefix}-merged-{uuid.uuid4().hex}.parquet")
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


_TYPES = {
    "String": pl.String(),
    "Int32": pl.Int32(),
    "Int64": pl.Int64(),
    "Float32": pl.Float32(),
    "Float64": pl.Float64(),
    "Bool": pl.Boolean(),
    "Bytes": pl.Binary(),
    "UnixTimestamp": _MOMENT,
}


def _polars_type(dtype: Any) -> pl.DataType:
    base = getattr(dtype, "base_type", None)
    return pl.List(_polars_type(base)) if base is not None else _TYPES[str(dtype)]
