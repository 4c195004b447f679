"""What makes a row of telemetry bad: every reader rejects for the same reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError
from models.recommender.readers import checks
from models.recommender.readers.checks import TimeUnit

_LARGEST = float(np.finfo(np.float32).max)


def checked(
    rows: pl.DataFrame,
    fields: Sequence[str],
    time: TimeUnit | None,
    labels: Mapping[str, Sequence[str]] | None,
) -> pl.DataFrame:
    """Give the columns their types, and bad rows a reason.

    A number may be text; empty text, null and NaN are missing values.

    Args:
        rows: `fields`, and where they exist `timestamp`, `source` and `label`; also source_file,
            line and text, which stay as they are.
        time: unit of `timestamp`; None: the row's number is its time.
        labels: `normal` and `anomalous` → the texts that say so; empty or null is unknown.

    Returns:
        line, text, reason, the file as `file`, time (microseconds), source, label, and `fields`.
    """
    numbers, checks_ = [], []
    for name in fields:
        text = pl.col(name).cast(pl.String).str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        numbers.append(
            pl.when(number.is_finite()).then(number).otherwise(None).cast(pl.Float32).alias(name)
        )
        given = text.fill_null("") != ""
        checks_.append((given & number.is_null(), f"field {name!r} is not a number"))
        infinite = number.is_infinite() | (number.abs() > _LARGEST)
        checks_.append((infinite & number.is_not_nan(), f"field {name!r} is infinite"))
    micro = pl.int_range(pl.len(), dtype=pl.Int64) * 1_000_000
    if time is not None:
        micro = checks.microseconds(time)
        sane = micro.is_between(checks.EARLIEST, checks.LATEST).fill_null(False)
        form = "ISO 8601" if time == "iso" else time
        checks_.insert(0, (~sane, f"bad time (expected {form})"))
    source = pl.lit("default")
    if "source" in rows.columns:
        source = pl.col("source").cast(pl.String).str.strip_chars()
        checks_.insert(0, (source.fill_null("") == "", "empty source"))
    label = pl.lit(UNKNOWN, pl.Int8)
    if labels is not None:
        said = pl.col("label").cast(pl.String).str.strip_chars().str.to_lowercase().fill_null("")
        words = dict.fromkeys(labels["normal"], NORMAL)
        words |= dict.fromkeys(labels["anomalous"], ANOMALOUS)
        known = {str(word).lower(): value for word, value in words.items()} | {"": UNKNOWN}
        label = said.replace_strict(known, default=None, return_dtype=pl.Int8)
        checks_.append((label.is_null(), f"label is none of {sorted(known)[1:]}"))
    reason: pl.Expr = pl.lit(None, dtype=pl.String)
    for condition, text_ in reversed(checks_):
        reason = pl.when(condition.fill_null(False)).then(pl.lit(text_)).otherwise(reason)
    return rows.select(
        "file",
        "line",
        "text",
        reason.alias("reason"),
        micro.alias("time"),
        source.alias("source"),
        label.alias("label"),
        *numbers,
    )


def telemetry(rows: pl.DataFrame, fields: Sequence[str]) -> Telemetry:
    """Good rows as telemetry.

    Raises:
        TelemetryError: no rows.
    """
    if rows.is_empty():
        raise TelemetryError("no rows of telemetry; at least one is needed")
    return Telemetry.of(
        rows.select(fields).fill_null(float("nan")).to_numpy(),
        fields,
        rows["time"].to_numpy() // 1_000_000,
        rows["source"].to_list(),
        rows["label"].to_numpy(),
    )
