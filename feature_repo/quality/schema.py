"""A view's rules as a pandera schema.

Every check carries its rule in words; `rules.py` turns broken ones into reasons.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from feature_repo.quality.comparisons import columns, expression
from feature_repo.view import CREATED, TIME, Feature, View

# Of a check across columns pandera would copy every failing row as a Python dict.
_EXAMPLES = 1


_made: dict[str, tuple[View, Any]] = {}  # making one takes as long as checking a thousand rows


def schema(view: View) -> Any:
    """The `pandera.polars.DataFrameSchema` of a view's key, time and features.

    Raises:
        RuleError: a rule of the view names no feature of it.
    """
    kept = _made.get(view.full_name)
    if kept is None or kept[0] is not view:
        kept = _made[view.full_name] = (view, _schema(view))
    return kept[1]


def _schema(view: View) -> Any:
    # Takes a second to import, and readers of views need not pay for it.
    import pandera.polars as pa

    names = {f.name for f in view.features}
    return pa.DataFrameSchema(
        {
            view.key: pa.Column(pl.String, nullable=False),
            TIME: pa.Column(pl.Datetime("us", "UTC"), nullable=False),
            **{
                f.name: pa.Column(
                    polars_type(f.dtype), nullable=f.nullable, checks=_checks(pa, f), coerce=False
                )
                for f in view.features
            },
        },
        checks=[
            pa.Check(
                _across(expression(rule, names)),
                name=columns(rule)[0],
                error=rule,
                n_failure_cases=_EXAMPLES,
            )
            for rule in view.rules
        ],
        name=view.full_name,
        strict=False,
    )


def polars_type(dtype: Any) -> pl.DataType:
    """The column type of a Feast type."""
    base = getattr(dtype, "base_type", None)
    return pl.List(polars_type(base)) if base is not None else _POLARS[str(dtype)]


def polars_schema(view: View) -> dict[str, pl.DataType]:
    """The columns of a view's offline table."""
    moment = pl.Datetime("us", "UTC")
    features = {f.name: polars_type(f.dtype) for f in view.features}
    return {view.key: pl.String(), **features, TIME: moment, CREATED: moment}


_POLARS = {
    "String": pl.String(),
    "Int64": pl.Int64(),
    "Float64": pl.Float64(),
    "Bool": pl.Boolean(),
}


def _checks(pa: Any, feature: Feature) -> list[Any]:
    column, dtype = pl.col(feature.name), polars_type(feature.dtype)
    tests: list[tuple[pl.Expr, str]] = []
    if dtype.is_float():
        tests.append((column.is_finite(), "finite"))
    if isinstance(dtype, pl.List):
        full = column.list.drop_nulls().list.len() == column.list.len()
        tests.append((full, "no null inside"))
    if feature.lowest is not None:
        tests.append((column >= feature.lowest, f">= {feature.lowest:g}"))
    if feature.highest is not None:
        tests.append((column <= feature.highest, f"<= {feature.highest:g}"))
    if feature.allowed is not None:
        tests.append((column.is_in(list(feature.allowed)), f"one of {', '.join(feature.allowed)}"))
    return [
        pa.Check(_across(kept), name=feature.name, error=rule, n_failure_cases=_EXAMPLES)
        for kept, rule in tests
    ]


def _across(kept: pl.Expr) -> Any:
    """A check function: pandera hands it the whole frame."""
    return lambda data: data.lazyframe.select(kept.alias("kept"))
