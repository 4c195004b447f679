"""Rules on write: rows that break them go to quarantine with the reason."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl

from feature_repo.view import TIME, Feature, View

REASON = "reason"


def check(view: View, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the view's rules accept, and the others with a `reason`."""
    tests = [
        (pl.col(view.key).is_null(), f"{view.key} is null"),
        (pl.col(TIME).is_null(), f"{TIME} is null"),
    ]
    for feature in view.features:
        tests += _tests(feature)
    reason: pl.Expr = pl.lit(None, pl.String)
    for broken, text in reversed(tests):
        reason = pl.when(broken.fill_null(False)).then(pl.lit(text)).otherwise(reason)
    marked = frame.with_columns(reason.alias(REASON))
    bad = marked.filter(pl.col(REASON).is_not_null())
    if bad.is_empty():
        return frame, bad
    return marked.filter(pl.col(REASON).is_null()).drop(REASON), bad


def quarantine(store: Path, view: View, bad: pl.DataFrame, now: datetime) -> Path:
    """Keep rejected rows below `quarantine/<view>/`."""
    path = store / "quarantine" / view.full_name / f"{now:%Y%m%dT%H%M%S%f}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    bad.write_parquet(path)
    return path


def _tests(feature: Feature) -> list[tuple[pl.Expr, str]]:
    column, name = pl.col(feature.name), feature.name
    tests = []
    if not feature.nullable:
        tests.append((column.is_null(), f"{name} is null"))
    if feature.lowest is not None:
        tests.append((column < feature.lowest, f"{name} is below {feature.lowest}"))
    if feature.highest is not None:
        tests.append((column > feature.highest, f"{name} is above {feature.highest}"))
    if feature.allowed is not None:
        tests.append((~column.is_in(list(feature.allowed)), f"{name} is none of {feature.allowed}"))
    return tests
