"""Incidents that nobody marked, found among scores that should all be of normal events.

A few of them set the far tail of a calibration, and make the next ones look usual. They show as
more scores beyond a point than the tail below it lets expect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import poisson

_BODY, _END = 0.20, 0.02  # shares: the tail is fitted from the one quantile to the other
_DOUBT = 1e-3  # an excess so improbable is no chance
_LEAST = 10  # scores that may be in doubt; with fewer nothing can be told
_SHAPE = 0.1  # scores are logarithms, or bent like them: their tails are about exponential
_SHAPES = np.arange(0.0, 1.05, 0.05)  # tried, for scores whose tail is heavier all the same
_MOST_FITTED = 2000


def usual(scores: NDArray[np.floating], most: float = 0.01) -> NDArray[np.bool_]:
    """Which of the scores [N] need not be doubted; high = anomalous.

    A generalised Pareto tail (Pickands, 1975) is fitted between two quantiles below all that may be
    in doubt. The highest scores are in doubt down to the last one beyond which so many are
    improbable (Poisson) under that tail. Where there are too few scores, or the tail explains them,
    none is.

    Args:
        most: largest share that may be in doubt; 0: none.
    """
    everything = np.ones(len(scores), dtype=np.bool_)
    ordered = np.sort(np.asarray(scores, np.float64))[::-1]  # falling
    doubted = ordered[: int(len(scores) * min(most, _END / 2))]
    if len(doubted) < _LEAST:
        return everything
    first, last = int(len(scores) * _BODY), int(len(scores) * _END)
    low, high = ordered[first], ordered[last]
    if not low < high:
        return everything
    shape = max(_SHAPE, _fitted(ordered[last:first] - low, high - low) + _SHAPE / 2)
    # The scale with which the tail goes through the quantile where the fit ends.
    scale = shape * (high - low) / ((_BODY / _END) ** shape - 1)
    expected = len(scores) * _BODY * (1 + shape * (doubted - low) / scale) ** (-1 / shape)
    odd = np.flatnonzero(poisson.sf(np.arange(len(doubted)), expected) < _DOUBT)
    if not len(odd):
        return everything
    kept: NDArray[np.bool_] = np.asarray(scores) < ordered[odd[-1]]
    return kept


def _fitted(excess: NDArray[np.float64], end: float) -> float:
    """The shape, 0 or more, by maximum likelihood; what lies beyond `end` is only counted."""
    beyond = len(excess) * _END / (_BODY - _END)
    if len(excess) > _MOST_FITTED:
        beyond *= _MOST_FITTED / len(excess)
        excess = excess[np.linspace(0, len(excess) - 1, _MOST_FITTED).astype(int)]
    best = np.inf, 0.0
    for shape in np.maximum(_SHAPES, 1e-6):

        def loss(log_scale: float, shape: float = shape) -> float:
            scaled = shape / np.exp(log_scale)
            inside = np.log1p(scaled * excess).sum() * (1 + 1 / shape)
            return float(len(excess) * log_scale + inside + np.log1p(scaled * end) * beyond / shape)

        middle = np.log(end)
        found = minimize_scalar(loss, bounds=(middle - 6, middle + 2), method="bounded")
        best = min(best, (float(found.fun), float(shape)))
    return best[1]
