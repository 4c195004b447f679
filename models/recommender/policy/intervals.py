"""How sure an estimate is: an interval over clusters, by the bootstrap or the normal law."""

from __future__ import annotations

from statistics import NormalDist
from typing import Protocol

import numpy as np

from models.recommender.policy.estimators import Estimator
from models.recommender.policy.sums import Sums


class Interval(Protocol):
    """Anything that gives bounds of an estimate."""

    def bounds(self, estimator: Estimator, sums: Sums) -> tuple[float, float]: ...


class Normal:
    """Value ± z standard errors, from each cluster's influence.

    Cheap, and too narrow where few rows carry most of the weight: see the effective sample size.
    """

    def __init__(self, confidence: float = 0.95) -> None:
        self.confidence = _checked(confidence)

    def bounds(self, estimator: Estimator, sums: Sums) -> tuple[float, float]:
        clusters = len(sums.requests)
        value = float(estimator.value(sums, np.ones((1, clusters)))[0])
        if clusters < 2:
            return -np.inf, np.inf
        error = np.sqrt(np.square(estimator.influence(sums)).sum() / (clusters * (clusters - 1)))
        z = NormalDist().inv_cdf(0.5 + self.confidence / 2)
        return value - z * float(error), value + z * float(error)


class Bootstrap:
    """Percentiles of the values of `draws` logs of as many clusters, drawn with replacement."""

    def __init__(self, draws: int = 1000, confidence: float = 0.95, seed: int = 0) -> None:
        if draws < 100:
            raise ValueError(f"draws must be at least 100, not {draws}")
        self.draws = draws
        self.confidence = _checked(confidence)
        self.seed = seed

    def bounds(self, estimator: Estimator, sums: Sums) -> tuple[float, float]:
        clusters = len(sums.requests)
        rng = np.random.default_rng(self.seed)
        values = []
        portion = max(1, 4_000_000 // clusters)  # counts of so many draws fit in 32 MB
        for start in range(0, self.draws, portion):
            drawn = min(portion, self.draws - start)
            places = rng.integers(clusters, size=(drawn, clusters))
            places += np.arange(drawn)[:, None] * clusters
            times = np.bincount(places.ravel(), minlength=drawn * clusters)
            values.append(estimator.value(sums, times.reshape(drawn, clusters).astype(float)))
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
        return float(low), float(high)


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return confidence
