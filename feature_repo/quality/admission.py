"""The door for rows that do not come from computation: pushes from streams and over HTTP.

They pass the same rules as computed rows, and what is rejected lies beside theirs.
"""

from __future__ import annotations

import difflib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from feature_repo.quality.comparisons import RuleError
from feature_repo.quality.rules import BROKEN, REASON, check, quarantine
from feature_repo.quality.schema import polars_schema
from feature_repo.view import CREATED, TIME, View


class Admitted(NamedTuple):
    """What became of some rows.

    Args:
        good: in the view's columns and types, with `created_timestamp`.
        bad: the same, with `reason`; a value that could not be read is null and in the reason.
        path: where the bad rows lie; None: there are none.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    path: Path | None


def admit(store: Path, view: View, rows: pl.DataFrame, now: datetime) -> Admitted:
    """Check pushed rows; keep the bad ones in quarantine and give back the good ones.

    Args:
        store: the store's folder.
        rows: the key, all features and `event_timestamp`.
        now: with a zone; becomes `created_timestamp`.

    Raises:
        RuleError: an unknown or missing column (with near matches), or a time without a zone or in
            nanoseconds. Nothing of the rows is kept then.
    """
    _check_columns(view, rows)
    typed, unread = _typed(view, rows, now)
    good, bad = check(view, typed.filter(~unread["any"]))
    if unread["any"].any():
        lost = typed.with_columns(unread).filter("any").drop("any")
        bad = pl.concat([bad, lost.select(bad.columns)])
    path = quarantine(store, view, bad, now) if len(bad) else None
    return Admitted(good, bad, path)


def _check_columns(view: View, rows: pl.DataFrame) -> None:
    wanted = [view.key, *(f.name for f in view.features), TIME]
    for name in rows.columns:
        if name not in wanted and name != CREATED:
            near = difflib.get_close_matches(name, wanted, n=3)
            hint = f"nearest: {', '.join(near)}" if near else f"it has {', '.join(wanted)}"
            raise RuleError(f"view {view.full_name} has no column {name!r}; {hint}")
    absent = [name for name in wanted if name not in rows.columns]
    if absent:
        raise RuleError(f"rows for view {view.full_name} lack {', '.join(absent)}")
    moment = rows.schema[TIME]
    if not isinstance(moment, pl.Datetime) or moment.time_zone is None:
        raise RuleError(f"view {view.full_name}: {TIME} is {moment}; it must be a time with a zone")
    if moment.time_unit == "ns":
        raise RuleError(
            f"view {view.full_name}: {TIME} is in nanoseconds; it must be in microseconds"
        )


def _typed(view: View, rows: pl.DataFrame, now: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in the view's types; and for each: `reason` and `broken`, `any` if one is unreadable."""
    schema = polars_schema(view)
    rows = rows.with_columns(
        pl.col(TIME).dt.convert_time_zone("UTC"), pl.lit(now).alias(CREATED)
    ).select(*schema)
    told, rules, columns = [], [], []
    for name, dtype in schema.items():
        given = rows[name]
        try:
            column = given.cast(dtype, strict=False)
        except pl.exceptions.PolarsError as error:
            raise RuleError(
                f"view {view.full_name}: {name} is {given.dtype}; it must be {dtype}"
            ) from error
        columns.append(column)
        lost = column.is_null() & given.is_not_null()
        if given.dtype.is_float() and dtype.is_integer():
            lost |= (column.cast(given.dtype) != given).fill_null(False)
        if lost.any():
            text = pl.format(f"{name} = {{}} is no {dtype}", given.cast(pl.String))
            told.append(pl.when(lost).then(text))
            rules.append(pl.when(lost).then(pl.lit(f"{name} is {dtype}")))
    typed = pl.DataFrame(columns)
    if not told:
        return typed, pl.select(any=pl.repeat(False, len(typed)))
    reasons = pl.select(
        pl.concat_str(told, separator="; ", ignore_nulls=True).alias(REASON),
        pl.concat_list(rules).list.drop_nulls().alias(BROKEN),
    )
    return typed, reasons.with_columns((pl.col(BROKEN).list.len() > 0).alias("any"))
