"""Thompson sampling: the less an item was shown, the more its score may turn out to be.

Each score is taken for the mean of a normal distribution whose width shrinks with the times that
the item was shown (Agrawal and Goyal, AISTATS 2013). For each place a value is drawn of every
candidate that is left, and the highest is shown. Because draws are new for each place, the
propensity of what was shown is an integral over one variable, and known exactly.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from serving.gateway.recommendations.exploration import Choice
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

_REACH = 6.0  # standard deviations on both sides that the integral covers
_STEPS = 257  # of its grid


class Thompson:
    """Shows the highest of values drawn around the scores.

    Args:
        shown: the item's feature that counts how often it was shown; without a value: never.
        width: standard deviation of an item that was never shown, where the pool's scores are
            scaled to [0, 1]; after s times it is width / √(1 + s).
        among: best candidates that exploration looks at.
    """

    def __init__(self, resources: Resources, shown: str, width: float, among: int) -> None:
        self.shown = resources.item_feature(shown)
        self.width = width
        self.among = among
        self.policy = f"thompson-{width:g}"
        self.attributes = (self.shown,)

    def choose(self, pool: Pool, n: int, source: random.Random) -> Choice:
        size = min(max(self.among, n), len(pool.items))
        scores = np.asarray(pool.scores[:size], dtype=np.float64)
        spread = float(np.ptp(scores)) if size else 0.0
        means = (scores - scores.min()) / spread if spread else np.zeros(size)
        counts = np.array([v or 0 for v in pool.column(self.shown)[:size]], dtype=np.float64)
        widths = self.width / np.sqrt(1 + counts)
        draws = np.random.default_rng(source.getrandbits(64))
        left = np.arange(size)
        places: list[int] = []
        propensities: list[float] = []
        while len(left) and len(places) < n:
            mean, width = means[left], widths[left]
            best = int(draws.normal(mean, width).argmax())
            places.append(int(left[best]))
            propensities.append(chance_of_highest(mean, width, best))
            left = np.delete(left, best)
        return Choice(places, propensities)


def chance_of_highest(
    means: np.ndarray[Any, Any], widths: np.ndarray[Any, Any], which: int
) -> float:
    """How likely one of several independent normal variables is the highest.

    ∫ φ(z) Π Φ((m + s·z − mᵢ) / sᵢ) dz over the others i, on a grid, where m and s are its own.

    Args:
        means, widths: [K], widths above zero.
    """
    if len(means) == 1:
        return 1.0
    z = np.linspace(-_REACH, _REACH, _STEPS)
    density = np.exp(-0.5 * z * z)
    values = means[which] + widths[which] * z  # [S]
    others = np.delete(np.arange(len(means)), which)
    below = log_ndtr((values[:, None] - means[others]) / widths[others])  # [S, K − 1]
    chance = float((density * np.exp(below.sum(axis=1))).sum() / density.sum())
    return min(max(chance, float(np.finfo(np.float64).tiny)), 1.0)
