"""Floors: what a detector must beat to have learnt anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


class Null:
    """Nothing is ever anomalous."""

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.zeros(len(values))


class Random:
    """Uniform numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        return self._random.uniform(size=len(values))


class WindowedGaussian:
    """How improbable a value is under the mean and deviation of the values before it.

    The benchmark's own simple detector, on the scale of surprise: −log10 of twice the tail's
    probability.

    Args:
        window: values that the mean and deviation are taken from.
        step: they are taken anew every so many values.
    """

    def __init__(self, window: int = 6_400, step: int = 100) -> None:
        self._window, self._step = window, step

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        scores = np.zeros(len(values))
        for start in range(self._step, len(values), self._step):
            before = values[max(0, start - self._window) : start]
            deviation = max(float(before.std()), 1e-6)
            block = values[start : start + self._step]
            tail = norm.logsf(np.abs(block - before.mean()) / deviation)
            scores[start : start + self._step] = -(tail + np.log(2)) / np.log(10)
        return scores
