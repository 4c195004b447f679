"""The rows that a training set is made for: keys and a moment each, from a CSV or Parquet file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from feature_repo.store import StoreError
from feature_repo.view import TIME

READERS = {".csv": "CSV", ".parquet": "Parquet"}


class EntityFrameError(StoreError):
    """An entity file that cannot be joined; the message names the column and the rows."""

    exit_code = 65  # EX_DATAERR


def read_entities(path: Path, keys: Mapping[str, str], sent: Mapping[str, str]) -> pl.DataFrame:
    """The file's rows, with `event_timestamp` in microseconds UTC.

    Keys of a CSV file are read as text; the types of its other columns are inferred from all rows.

    Args:
        keys: column → why it is needed, for the message where it is missing.
        sent: the same, of numbers that requests send.

    Raises:
        EntityFrameError: no such file, another format, a missing column, a null, naive or
            unreadable time, one finer than a microsecond, text for a number.
    """
    if not path.is_file():
        raise EntityFrameError(f"{path}: no such file; give a CSV or Parquet file of entities")
    if path.suffix.lower() not in READERS:
        raise EntityFrameError(f"{path}: a {path.suffix or 'file without suffix'}; it must be one "
                               f"of {', '.join(READERS)}")  # fmt: skip
    frame = _read(path, list(keys))
    for column, reason in {TIME: "the moment to look back from", **keys, **sent}.items():
        if column not in frame.columns:
            near = difflib.get_close_matches(column, frame.columns, n=1)
            hint = f" (is it {near[0]}?)" if near else ""
            raise EntityFrameError(
                f"{path} has no column {column}{hint}, {reason}; it has {', '.join(frame.columns)}"
            )
    for column, reason in sent.items():
        if not (frame.schema[column].is_numeric() or frame.schema[column] == pl.Null):
            raise EntityFrameError(
                f"{path}: {column} is {frame.schema[column]}; it must be a number, {reason}"
            )
    numbers = [pl.col(c).cast(pl.Float64) for c in sent]
    return frame.with_columns(_moments(path, frame[TIME]), *numbers)


def _read(path: Path, keys: list[str]) -> pl.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path, hive_partitioning=False)
        head = pl.read_csv(path, n_rows=0).columns
        text = {c: pl.String() for c in head if c in keys or c == TIME}
        return pl.read_csv(path, schema_overrides=text, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise EntityFrameError(
            f"{path}: not a whole {READERS[path.suffix.lower()]} file ({reason})"
        ) from error


def _moments(path: Path, column: pl.Series) -> pl.Series:
    nulls = column.is_null()
    if nulls.any():
        raise EntityFrameError(
            f"{path}: {TIME} is null in {nulls.sum()} of {len(column)} rows (first: row "
            f"{nulls.arg_true()[0]}); every row needs a moment to look back from"
        )
    if column.dtype == pl.String:
        return _parsed(path, column)
    dtype = column.dtype
    if not isinstance(dtype, pl.Datetime):
        raise EntityFrameError(
            f"{path}: {TIME} is {dtype}; it must be a time with a zone, such as "
            "2026-01-31T12:00:00Z"
        )
    if dtype.time_zone is None:
        raise _naive(path, str(column[0]))
    moments = column.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    if dtype.time_unit == "ns":
        finer = (column.dt.nanosecond() % 1000 != 0).arg_true()
        if len(finer):
            raise EntityFrameError(
                f"{path}: {TIME} in row {finer[0]} is finer than a microsecond, as {len(finer)} "
                "are; round to microseconds, which is what features have"
            )
    return moments


def _parsed(path: Path, column: pl.Series) -> pl.Series:
    """Text such as 2026-01-31T12:00:00Z or 2026-01-31 12:00:00.5+02:00."""
    zoned = column.str.contains(r"(?:[Zz]|[+-]\d{2}:?\d{2})$")
    if not zoned.all():
        raise _naive(path, str(column.filter(~zoned)[0]))
    text = column.str.replace(r"[Zz]$", "+00:00").str.replace(" ", "T", literal=True)
    moments = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    bad = moments.is_null().arg_true()
    if len(bad):
        raise EntityFrameError(
            f"{path}: {TIME} {column[int(bad[0])]!r} in row {bad[0]} is no time; write "
            "2026-01-31T12:00:00Z"
        )
    return moments.dt.convert_time_zone("UTC")


def _naive(path: Path, example: str) -> EntityFrameError:
    return EntityFrameError(
        f"{path}: {TIME} has no time zone ({example}); write it with one, such as "
        "2026-01-31T12:00:00Z"
    )
