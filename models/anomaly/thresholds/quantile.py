"""The threshold as a quantile of each source's recent scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.bank import Bank, Rows
from models.anomaly.thresholds.threshold import ThresholdError

REFRESH = 8  # events after which the threshold is taken anew; an alarm does so at once
LARGEST = 1e12  # weights beyond it are brought back, long before precision suffers


class Quantile(Bank):
    """The score that a share `risk` of a source's scores exceeds, old ones counting less and less.

    Each source has a histogram whose bins lie at quantiles of the calibration scores (dense in the
    tail, where the threshold is) and go on beyond the largest of them in equal steps. An event `k`
    events ago weighs exp(−k / memory). A new source starts with the calibration's histogram, as if
    it were `prior` events old.

    Args:
        risk: wanted share of normal events that alarm.
        memory: events after which one weighs 1/e. Below 10 / risk the threshold is noisy.
        prior: weight of the calibration in a new source, in events.
        bins: of the histogram; a source's state is about 8 bytes a bin.
        adapt_after_s, adapt_events, verdict_limit: see `Bank`.
    """

    def __init__(
        self,
        risk: float = 1e-3,
        memory: float = 10_000,
        prior: float = 2_000,
        bins: int = 96,
        adapt_after_s: float | None = 3_600,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
    ) -> None:
        super().__init__(risk, adapt_after_s, adapt_events, verdict_limit)
        if memory * risk < 1:
            raise ThresholdError(
                f"a memory of {memory:g} events cannot hold a risk of {risk:g}: at least "
                f"{1 / risk:g} are needed"
            )
        if bins < 16:
            raise ThresholdError(f"bins must be at least 16, not {bins}")
        self.memory, self.prior, self.bins = memory, prior, bins
        self._growth = float(np.exp(1 / memory))
        self._edges: NDArray[np.float64] = np.empty(0)  # [bins + 1], rising

    def _needed(self) -> int:
        return int(np.ceil(1 / self.risk))

    def _start(self, scores: NDArray[np.float64]) -> Rows:
        inner = 2 * self.bins // 3
        shares = np.r_[
            np.linspace(0, 0.9, inner // 4, endpoint=False),
            1 - np.geomspace(0.1, 1 / len(scores), inner - inner // 4),
        ]
        edges = np.unique(np.quantile(scores, shares))
        tail = scores[-max(10, len(scores) // 50) :]  # their mean excess is the tail's own scale
        scale = max(abs(edges[-1]), abs(edges[0]), 1e-9)
        step = max(float(tail.mean() - tail[0]), 1e-3 * scale) / 2
        outer = self.bins + 1 - len(edges)
        self._edges = np.r_[edges, edges[-1] + step * np.arange(1, outer + 1)]
        counts = np.bincount(self._bin(scores), minlength=self.bins).astype(np.float64)
        rows = {
            "counts": counts * (self.prior / len(scores)),
            "weight": np.array(1.0),
            "events": np.array(0, dtype=np.int32),  # since the last refresh
            "level": np.array(0.0),
        }
        rows["level"] = self._quantile(rows["counts"][None])[0]
        return rows

    def _bin(self, score: NDArray[np.float64]) -> NDArray[np.intp]:
        """Bin b holds edges[b] < score ≤ edges[b + 1], as a threshold is exceeded strictly."""
        return np.clip(np.searchsorted(self._edges, score, side="left") - 1, 0, self.bins - 1)

    def _quantile(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n, bins] → [n]: straight lines within a bin."""
        below = np.cumsum(counts, axis=1)
        wanted = (1 - self.risk) * below[:, -1]
        bin_ = np.minimum((below < wanted[:, None]).sum(axis=1), self.bins - 1)
        row = np.arange(len(counts))
        held = counts[row, bin_]
        share = np.clip((wanted - (below[row, bin_] - held)) / np.maximum(held, 1e-300), 0, 1)
        low, high = self._edges[bin_], self._edges[bin_ + 1]
        level: NDArray[np.float64] = low + share * (high - low)
        return level

    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        rows = self._rows
        # Instead of shrinking all that is old, the new weighs more and more.
        weight = rows["weight"][source] * self._growth
        large = weight > LARGEST
        if large.any():
            rows["counts"][source[large]] /= weight[large, None]
            weight[large] = 1.0
        rows["weight"][source] = weight
        rows["counts"][source, self._bin(score)] += weight
        events = rows["events"][source] + 1
        due = (events >= REFRESH) | (score > rows["level"][source])
        rows["events"][source] = np.where(due, 0, events)
        if due.any():
            rows["level"][source[due]] = self._quantile(rows["counts"][source[due]])

    def _unlearn(self, source: int, score: float) -> None:
        counts, bin_ = self._rows["counts"], self._bin(np.array([score]))[0]
        counts[source, bin_] = max(counts[source, bin_] - self._rows["weight"][source], 0.0)
        self._rows["level"][source] = self._quantile(counts[source][None])[0]
