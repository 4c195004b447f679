"""The share of rows on which each of two models says yes, and the sampling error of its change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.promotion.rule import Measure

_95 = 1.959964  # standard errors: a two-sided interval of 95 %


def share(
    name: str,
    better: str,
    champion: NDArray[np.bool_],
    challenger: NDArray[np.bool_],
    groups: NDArray[np.integer[Any]] | None = None,
) -> Measure:
    """Both shares of the same rows [N], with the standard error of their difference.

    The error is of paired proportions (McNemar, 1947): rows on which both agree add nothing to it.
    Rows of a group are not independent, such as those of one incident, and count together
    (Liang and Zeger, 1986).

    Args:
        groups: [N], the number of each row's group; None: every row is one of its own.
    """
    found = float(champion.mean()), float(challenger.mean())
    error = standard_error(challenger.astype(float) - champion, groups)
    change = found[1] - found[0]
    return Measure(
        name,
        *found,
        better,
        rows=len(champion),
        low=change - _95 * error,
        high=change + _95 * error,
        error=error,
    )


def standard_error(
    values: NDArray[np.float64], groups: NDArray[np.integer[Any]] | None = None
) -> float:
    """Of the mean of values [N]; 0 where there is one group only, which says nothing of others."""
    off = values - values.mean()
    if groups is not None:
        _, place = np.unique(groups, return_inverse=True)
        off = np.bincount(place, weights=off)
    if len(off) < 2:
        return 0.0
    return math.sqrt(float((off**2).sum()) * len(off) / (len(off) - 1)) / len(values)
