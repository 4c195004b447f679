"""Novelty of a value in its stream: how far the recent past is from anything seen before.

The last values are described at several scales (the newest alone, the means and deviations of the
last minutes, the course of the last day) and each description is compared with its nearest among
all earlier ones: nearest-neighbour conformity as in conformal anomaly detection (Laxhammar &
Falkman 2014; Burnaev & Ishimtsev 2016), not a model of the signal, so that spikes, shifts, changes
of variance and broken daily courses need no kinds of their own. What has come once is known: a
shift that stays is new while it enters the windows, and then no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

BLOCK = 256  # rows compared with all earlier ones at a time


class Scale(NamedTuple):
    """How the recent past is described: `segments` consecutive stretches of `length` values.

    Args:
        length: of a stretch; its mean is one number of the description.
        segments: how many stretches; the newest ends in the newest value.
        deviation: whether each stretch's standard deviation is another number.
        neighbours: which of the nearest earlier descriptions is measured against; more than 1
            makes one earlier anomaly not enough to hide the next of its kind.
    """

    length: int
    segments: int
    deviation: bool = False
    neighbours: int = 1


class Novelty:
    """Scores one stream of numbers, each by what came before it only.

    Per scale, a distance counts as a share of the largest that there has been, whose memory fades.
    The score is the mean of those shares: 1 means as new as the newest so far, at every scale.

    Args:
        scales: of the description.
        settle: first values, in which everything is new: they score 0 and set no records.
        fade: factor by which the record shrinks with each value.
        cap: largest share that one scale can give.
        floor: share of the values' range so far below which a distance is no distance: a signal
            that was constant does not alarm at its first tremble.
        memory: earlier descriptions that are compared with.
    """

    def __init__(
        self,
        scales: Sequence[Scale],
        settle: int = 200,
        fade: float = 0.9998,
        cap: float = 1.5,
        floor: float = 1e-3,
        memory: int = 25_000,
    ) -> None:
        if not scales:
            raise ValueError("at least one scale is needed")
        if not 0 < fade <= 1:
            raise ValueError(f"fade must be above 0 and at most 1, not {fade}")
        self._scales = [_History(scale, settle, fade, floor, memory) for scale in scales]
        self._cap = cap

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores [N] of the next N values, in order; however they are cut, they are the same.

        A missing value (NaN) scores NaN, and the stream goes on as if it had not come.
        """
        scores = np.full(len(values), np.nan)
        known = np.flatnonzero(np.isfinite(values))
        for start in range(0, len(known), BLOCK):
            rows = known[start : start + BLOCK]
            block = values[rows].astype(np.float64)
            shares = [np.minimum(scale.shares(block), self._cap) for scale in self._scales]
            scores[rows] = np.mean(shares, axis=0)
        return scores


class _History:
    """One scale's descriptions so far, and the record of their distances."""

    def __init__(self, scale: Scale, settle: int, fade: float, floor: float, memory: int) -> None:
        self._scale = scale
        self._span = scale.length * scale.segments
        self._settle, self._fade, self._floor, self._memory = settle, fade, floor, memory
        self._seen = 0
        self._recent: NDArray[np.float64] | None = None  # the last values, as many as a window
        self._origin = self._low = self._high = 0.0
        self._known = np.empty((0, scale.segments * (1 + scale.deviation)))
        self._record = 0.0

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n] → the distance of each as a share of the record before it."""
        if self._recent is None:  # before the first value it was always the same
            self._origin = self._low = self._high = float(values[0])
            self._recent = np.zeros(self._span - 1)
        described = self._describe(values - self._origin)
        distance = self._distances(described)

        low = np.minimum.accumulate(np.r_[self._low, values])[1:]
        high = np.maximum.accumulate(np.r_[self._high, values])[1:]
        self._low, self._high = float(low[-1]), float(high[-1])
        least = self._floor * (high - low) + 1e-12

        row = self._seen + np.arange(len(values))
        counts = (row >= self._settle) & np.isfinite(distance)
        raised = np.where(counts, np.maximum(distance, least), 0.0)
        # the fading maximum, in the block's own units: divided by how far it will have faded
        faded = self._fade ** np.arange(len(values) + 1)
        record = np.maximum.accumulate(np.r_[self._record, raised / faded[1:]]) * faded
        self._record = float(record[-1])
        self._seen += len(values)
        measured = counts & (record[:-1] > 0)
        share: NDArray[np.float64] = np.where(measured, distance, 0.0)
        return np.asarray(share / np.maximum(record[:-1], least))

    def _describe(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n] → [n, D]."""
        assert self._recent is not None
        joined = np.r_[self._recent, values]
        self._recent = joined[len(joined) - (self._span - 1) :]
        windows = sliding_window_view(joined, self._span)
        parts = windows.reshape(len(values), self._scale.segments, self._scale.length)
        means = parts.mean(axis=2)
        return np.hstack([means, parts.std(axis=2)]) if self._scale.deviation else means

    def _distances(self, described: NDArray[np.float64]) -> NDArray[np.float64]:
        """Root mean square distance to the k-th nearest earlier description that shares no value.

        NaN where there are too few of them.
        """
        n, width = described.shape
        old = len(self._known)
        known = np.concatenate([self._known, described])
        length = np.einsum("ij,ij->i", known, known)
        square = length[old:, None] + length[None, :] - 2 * described @ known.T  # [n, old + n]
        newest = old + np.arange(n)[:, None]
        at = np.arange(len(known))[None, :]
        square[(at > newest - self._span) | (at < newest - self._memory)] = np.inf
        k = self._scale.neighbours
        if len(known) < k:
            nearest = np.full(n, np.inf)
        else:
            nearest = np.partition(square, k - 1, axis=1)[:, k - 1]
        self._known = known[-self._memory :]
        distance = np.sqrt(np.maximum(nearest, 0.0) / width)
        return np.where(np.isfinite(distance), distance, np.nan)
