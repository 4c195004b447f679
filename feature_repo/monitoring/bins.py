"""Into which bins a feature's values fall: chosen on the baseline, kept for all that is compared.

Nulls are a bin of their own, the first, so that a change of their share is drift too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from feature_repo.monitoring.distances import Counts


@dataclass(frozen=True)
class Bins:
    """How to count a column.

    Args:
        of: "value", or "length" of a list or of a text that hardly ever repeats.
        edges: upper ends of all bins but the last, which is open; None: `values` are the bins.
        values: categories, or the few values that a number takes; all others fall into a last bin.
    """

    of: str
    edges: tuple[float, ...] | None = None
    values: tuple[Any, ...] | None = None

    @property
    def labels(self) -> list[str]:
        """What a person calls each bin."""
        if self.values is not None:
            return ["null", *(_short(v) for v in self.values), "other"]
        edges = [_short(e) for e in self.edges or ()]
        if not edges:
            return ["null", "any"]
        middle = [f"{a}–{b}" for a, b in pairwise(edges)]
        return ["null", f"≤{edges[0]}", *middle, f">{edges[-1]}"]

    def place(self, column: pl.Series) -> Counts:
        """The number of each row's bin."""
        values = measured(column, self.of)
        known = values.drop_nulls()
        last = len(self.labels) - 1
        if self.values is not None:
            found = known.replace_strict(
                list(self.values), list(range(1, last)), default=last, return_dtype=pl.Int64
            ).to_numpy()
        else:
            found = 1 + np.searchsorted(np.asarray(self.edges or ()), known.to_numpy(), "left")
        places: Counts = np.zeros(len(values), np.int64)
        places[values.is_not_null().to_numpy()] = found
        return places

    def count(self, places: Counts) -> Counts:
        """Rows in each bin, [B]."""
        counts: Counts = np.bincount(places, minlength=len(self.labels)).astype(np.int64)
        return counts


def choose_bins(column: pl.Series, number: int, max_values: int) -> Bins:
    """Bins after a baseline's values.

    Args:
        number: quantile bins of a number; fewer where values repeat.
        max_values: numbers that take no more values, and strings that take no more, are counted
            value by value. Strings that take more are counted by the most frequent ones, or by
            their lengths if those do not cover half of the rows.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        return _of_numbers(measured(column, "length"), "length", number, max_values)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return _of_numbers(measured(column, "value"), "value", number, max_values)
    known = column.drop_nulls()
    counts = known.value_counts(sort=True, name="n")
    common = counts.head(max_values)
    if len(known) and common["n"].sum() < len(known) / 2:
        return _of_numbers(measured(column, "length"), "length", number, max_values)
    return Bins("value", values=tuple(sorted(common[column.name].to_list())))


def measured(column: pl.Series, of: str) -> pl.Series:
    """The values that are counted; NaN counts as null."""
    if of == "length":
        return column.list.len() if isinstance(column.dtype, pl.List) else column.str.len_chars()
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8)
    return column.fill_nan(None) if column.dtype.is_float() else column


def _of_numbers(values: pl.Series, of: str, number: int, max_values: int) -> Bins:
    known = values.drop_nulls()
    distinct = known.unique()
    if len(distinct) <= max_values:
        return Bins(of, values=tuple(distinct.sort().to_list()))
    inner = np.linspace(0, 1, number + 1)[1:-1]
    edges = np.unique(np.quantile(known.to_numpy(), inner, method="inverted_cdf"))
    return Bins(of, edges=tuple(float(e) for e in edges))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    return text if len(text) <= 14 else text[:13] + "…"
