"""The generalised Pareto distribution of peaks over a threshold: fit and quantile, many at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID = 30  # points of the profile likelihood


def fit(
    peaks: NDArray[np.floating], count: NDArray[np.integer], prior: float = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shape ξ and scale σ of n sets of excesses: the profile likelihood's mean, never its search.

    Zhang & Stephens (2009), "A new and efficient estimation method for the generalized Pareto
    distribution": as exact as maximum likelihood (Grimshaw 1993), without its failures. The shape
    is drawn towards 0 by `prior` and held within −1 … 0.9. Excesses that are all nought give
    σ = 0.

    Args:
        peaks: [n, P] excesses, not negative; only the first `count` of a row are read.
        count: [n].
        prior: peaks' worth of belief in an exponential tail, which steadies the fit of few.

    Returns:
        ξ [n], σ [n].
    """
    used = np.arange(peaks.shape[1]) < count[:, None]
    excess = np.where(used, peaks, 0.0).astype(np.float64)
    size = np.maximum(count, 1).astype(np.float64)
    mean = excess.sum(axis=1) / size
    shape, scale = np.zeros(len(peaks)), mean.copy()  # exponential: all that one value can tell
    enough = np.flatnonzero((count >= 2) & (mean > 0))
    if len(enough) == 0:
        return shape, scale
    x = excess[enough] / mean[enough, None]  # [m, P], of mean 1
    n = size[enough]
    ordered = np.sort(np.where(used[enough], x, np.inf), axis=1)
    row = np.arange(len(enough))
    largest = ordered[row, count[enough] - 1]
    quarter = ordered[row, np.maximum(np.floor(n / 4 + 0.5).astype(int) - 1, 0)]
    # many equal to the threshold: the quartile must not be nought
    quarter = np.maximum(quarter, 1e-3)

    j = np.arange(1, GRID + 1) - 0.5
    theta = 1 / largest[:, None] + (1 - np.sqrt(GRID / j)) / (3 * quarter[:, None])  # [m, GRID]
    theta = np.where(np.abs(theta) < 1e-9, 1e-9, theta)
    k = -np.log1p(-theta[:, :, None] * x[:, None, :]).sum(axis=2) / n[:, None]
    likelihood = n[:, None] * (np.log(theta / k) + k - 1)
    weight = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    best = (theta * weight).sum(axis=1) / weight.sum(axis=1)
    best = np.where(np.abs(best) < 1e-9, 1e-9, best)
    k = -np.log1p(-best[:, None] * x).sum(axis=1) / n
    drawn = np.clip(-k * n / (n + prior), -1.0, 0.9)
    # The scale that keeps the mean where the drawn shape would move it.
    shape[enough] = drawn
    scale[enough] = (k / best) * (1 - drawn) / (1 + np.maximum(k, -0.9)) * mean[enough]
    return shape, scale


def quantile(
    shape: NDArray[np.float64], scale: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The excess that a `share` (0 … 1) of the peaks exceeds."""
    log = -np.log(np.clip(share, 1e-300, 1.0))
    exponential = np.abs(shape) < 1e-6
    safe = np.where(exponential, 1.0, shape)
    excess: NDArray[np.float64] = scale * np.where(exponential, log, np.expm1(safe * log) / safe)
    return excess
