"""What makes a row bad, as column expressions: every reader rejects for the same reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import polars as pl

TimeUnit = Literal["s", "ms", "us", "iso"]
TIME_UNITS = get_args(TimeUnit)

_TIMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "iso": "ISO 8601",
}
_PER_SECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Microseconds of the years 1900 and 2200: beyond them a number is in another unit, or not a time.
EARLIEST, LATEST = -2_208_988_800_000_000, 7_258_118_400_000_000
_EXACT = 2**53  # up to it, every whole number has a float of its own
_BLURRED = "in a column of floats is too large to be exact; write it as a whole number or text"


def fields(width: int, separator: str) -> tuple[pl.Expr, pl.Expr]:
    """Split `text` into the struct `fields`, and say for each row whether its arity is right."""
    parts = pl.col("text").str.split_exact(separator, width)
    right = parts.struct.field(f"field_{width - 1}").is_not_null()
    right &= parts.struct.field(f"field_{width}").is_null()
    return parts, right


def interactions(
    rows: pl.DataFrame,
    *,
    rating: bool,
    time: TimeUnit | None,
    reasons: Sequence[tuple[pl.Expr, str]] = (),
    scale: Sequence[float] | None = None,
    time_setting: str | None = None,
) -> pl.DataFrame:
    """Give text columns user_id, item_id[, rating][, timestamp] their types, and bad rows a reason.

    Args:
        rows: also holds `line` and `text`.
        time: unit of the timestamps; None: the order of the rows is their time.
        reasons: further (condition for a bad row, reason), which come first.
        scale: lowest and highest rating; another is bad. None: any number is right.
        time_setting: the setting that chose `time`, if a user can: a reason names it.
    """
    ids = ("user_id", "item_id")
    frame = rows.with_columns(
        *(id_text(name, rows.schema[name]) for name in ids),
        *(blurred(name, rows.schema[name]).alias(f"blurred_{name}") for name in ids),
    )
    checks = [
        *reasons,
        (pl.col("user_id").fill_null("") == "", "empty user id"),
        (pl.col("item_id").fill_null("") == "", "empty item id"),
        (pl.col("blurred_user_id"), f"user id {_BLURRED}"),
        (pl.col("blurred_item_id"), f"item id {_BLURRED}"),
    ]
    if rating:
        number = pl.col("rating").cast(pl.Float32, strict=False)
        frame = frame.with_columns(number.alias("number"))
        checks.append((~pl.col("number").is_finite().fill_null(False), "rating is not a number"))
        if scale is not None:
            outside = ~pl.col("number").is_between(scale[0], scale[1]).fill_null(False)
            checks.append((outside, f"rating outside the scale {scale[0]:g} to {scale[1]:g}"))
    if time is not None:
        frame = frame.with_columns(microseconds(time).alias("time"))
        sane = pl.col("time").is_between(EARLIEST, LATEST).fill_null(False)
        chosen = f", as {time_setting}={time} says" if time_setting else ""
        checks.append((~sane, f"bad time (expected {_TIMES[time]}{chosen})"))
    reason: pl.Expr = pl.lit(None, dtype=pl.String)
    for condition, text in reversed(checks):
        reason = pl.when(condition.fill_null(False)).then(pl.lit(text)).otherwise(reason)
    micro = pl.col("time") if time is not None else pl.int_range(pl.len()) * 1_000_000
    return frame.select(
        "line",
        "text",
        reason.alias("reason"),
        "user_id",
        "item_id",
        (pl.col("number") if rating else pl.lit(None, dtype=pl.Float32)).alias("rating"),
        micro.cast(pl.Datetime("us", "UTC")).alias("timestamp"),
    )


def id_text(name: str, kind: pl.DataType) -> pl.Expr:
    """A column of ids as text, as a person would write them; null where there is none.

    A whole number in a column of floats, which is what pandas makes of whole numbers with a gap
    among them, is written without a fraction.
    """
    column = pl.col(name)
    if not kind.is_float():
        return column.cast(pl.String).str.strip_chars()
    whole = (column == column.floor()) & (column.abs() <= _EXACT)
    number = pl.when(whole).then(column).cast(pl.Int64, strict=False).cast(pl.String)
    return pl.coalesce(number, column.fill_nan(None).cast(pl.String)).alias(name)


def blurred(name: str, kind: pl.DataType) -> pl.Expr:
    """Which ids are floats so large that different whole numbers have become one."""
    if not kind.is_float():
        return pl.lit(False)
    # Infinity is no number at all, and too large as well. NaN is no id, and said so elsewhere.
    return (
        pl.col(name).fill_nan(None).abs() > (2**24 if kind == pl.Float32 else _EXACT)
    ).fill_null(False)


def microseconds(unit: TimeUnit) -> pl.Expr:
    """Column `timestamp` as microseconds since 1970 UTC; null where it is no time."""
    column = pl.col("timestamp")
    if unit == "iso":
        return _iso(column.cast(pl.String)).dt.epoch("us")
    return (column.cast(pl.Float64, strict=False) * _PER_SECOND[unit]).cast(pl.Int64, strict=False)


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 in any of its usual forms; without a zone, it is UTC.

    Polars looks at the first value for the form of all, so that others in one column would be
    refused: each form that it did not choose gets its own try.
    """
    zoned = [f"%Y-%m-%d{t}%H:%M:%S%.f{zone}" for t in ("T", " ") for zone in ("%#z", "")]
    tries = [
        text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
        for form in (None, *zoned)
    ]
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce(*tries, day.dt.replace_time_zone("UTC"))
