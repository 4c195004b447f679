"""Rules on write: rows that break them go to quarantine with the reason.

All rules of a view are checked at once, by column; a row that breaks several names them all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from feature_repo.quality.comparisons import RuleError, columns
from feature_repo.quality.schema import schema
from feature_repo.view import View

REASON = "reason"  # what is wrong with a row, with the values, for people
BROKEN = "broken"  # the rules that it breaks, without values, for counting
STAMP = "%Y%m%dT%H%M%S%f"  # how quarantine's files are named: when, in UTC

_VALUE_LENGTH = 80  # characters of a value that a reason repeats


class _Broken(NamedTuple):
    """A rule and the rows that break it."""

    rule: str
    names: list[str]
    rows: pl.Series


def check(view: View, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the view's rules accept, and the others with `reason` and `broken`.

    Raises:
        RuleError: a column is missing or of another type; the message names it.
    """
    broken = list(_broken(view, frame))
    if not broken:
        return frame, _explained(frame.clear(), [])
    any_broken = pl.select(pl.any_horizontal([b.rows for b in broken])).to_series()
    bad = [b._replace(rows=b.rows.filter(any_broken)) for b in broken]
    return frame.filter(~any_broken), _explained(frame.filter(any_broken), bad)


def quarantine(store: Path, view: View, bad: pl.DataFrame, now: datetime) -> Path:
    """Keep rejected rows below `quarantine/<view>/`, in a file of their own."""
    folder = store / "quarantine" / view.full_name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:{STAMP}}-{uuid.uuid4().hex[:6]}.parquet"
    partial = path.with_suffix(".partial")
    bad.write_parquet(partial)
    return partial.replace(path)


def _broken(view: View, frame: pl.DataFrame) -> Iterator[_Broken]:
    import pandera.errors

    try:
        schema(view).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for error in errors.schema_errors:
            yield _rows(view, frame, error)


def _rows(view: View, frame: pl.DataFrame, error: Any) -> _Broken:
    if error.reason_code.name == "SERIES_CONTAINS_NULLS":  # pandera counts NaN among them
        name = error.schema.name
        return _Broken(f"{name} is not null", [name], frame[name].is_null())
    if not isinstance(error.check_output, pl.DataFrame):
        raise RuleError(f"view {view.full_name}: {error}")
    rows = ~error.check_output.to_series()
    rule = error.check.error
    if error.check.name in frame.columns and rule not in view.rules:
        return _Broken(f"{error.check.name} {rule}", [error.check.name], rows)
    return _Broken(rule, columns(rule), rows)


def _explained(bad: pl.DataFrame, broken: list[_Broken]) -> pl.DataFrame:
    def told(b: _Broken) -> pl.Expr:
        values = pl.concat_str([_told(bad, name) for name in b.names], separator=", ")
        return pl.when(b.rows).then(pl.concat_str(values, pl.lit(f" breaks {b.rule}")))

    rules = [pl.when(b.rows).then(pl.lit(b.rule)) for b in broken]
    if not broken:
        return bad.with_columns(
            pl.lit(None, pl.String).alias(REASON), pl.lit(None, pl.List(pl.String)).alias(BROKEN)
        )
    return bad.with_columns(
        pl.concat_str([told(b) for b in broken], separator="; ", ignore_nulls=True).alias(REASON),
        pl.concat_list(rules).list.drop_nulls().alias(BROKEN),
    )


def _told(frame: pl.DataFrame, name: str) -> pl.Expr:
    """`name = value`, a long value shortened."""
    column, dtype = pl.col(name), frame.schema[name]
    if isinstance(dtype, pl.List):
        column = pl.format(
            "[{}]", column.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
        )
    text = column.cast(pl.String).str.slice(0, _VALUE_LENGTH).fill_null("null")
    return pl.concat_str(pl.lit(f"{name} = "), text)
