"""Thresholds from extreme value theory: SPOT, and DSPOT for scores whose level moves.

Siffer, Fouque, Termier & Largouet (2017), "Anomaly detection in streams with extreme value
theory". Peaks over a high level follow a generalised Pareto distribution, whatever the scores do
below it, so that a risk can be asked for that is far rarer than what has been seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds import pareto
from models.anomaly.thresholds.bank import Bank, Rows
from models.anomaly.thresholds.threshold import ThresholdError

LEAST_PEAKS = 10  # that a calibration must have


class Spot(Bank):
    """Streaming peaks over threshold: refitted whenever a source has a new peak.

    Unlike in the paper, a source starts from the calibration instead of from its own first
    thousand events, keeps its newest `peaks` only, and counts events and peaks with a memory, so
    that its state is bounded and old habits fade.

    Args:
        risk: wanted share of normal events that alarm; 1e-3 … 1e-6.
        level: quantile of the calibration scores above which a score is a peak; .95 … .98.
        peaks: that a source keeps; its state is about 4 bytes a peak.
        prior: peaks' worth of belief in an exponential tail, which is what surprises have. Few
            peaks tell little of a risk far beyond them: at 1e-5 and with a prior of 20, a hundred
            gave anything from 3 to 12 where 5 is right.
        memory: events after which the counts are halved.
        adapt_after_s, adapt_events, verdict_limit: see `Bank`.
    """

    def __init__(
        self,
        risk: float = 1e-4,
        level: float = 0.95,
        peaks: int = 128,
        prior: float = 50,
        memory: int = 50_000,
        adapt_after_s: float | None = 3_600,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
    ) -> None:
        super().__init__(risk, adapt_after_s, adapt_events, verdict_limit)
        if not 0.5 <= level < 1 - risk:
            raise ThresholdError(
                f"level must be at least 0.5 and below 1 - risk = {1 - risk:g}, not {level}"
            )
        if peaks < LEAST_PEAKS:
            raise ThresholdError(f"peaks must be at least {LEAST_PEAKS}, not {peaks}")
        if prior < 0:
            raise ThresholdError(f"prior must not be negative, not {prior}")
        self.level, self.peaks, self.prior, self.memory = level, peaks, prior, memory
        self._tail = np.nan  # scores above it are peaks

    def _needed(self) -> int:
        return int(np.ceil(LEAST_PEAKS / (1 - self.level) - 1e-6))

    def _start(self, scores: NDArray[np.float64]) -> Rows:
        self._tail = float(np.quantile(scores, self.level))
        excess = scores[scores > self._tail] - self._tail
        kept = excess
        if len(excess) > self.peaks:  # evenly over their order, so that they speak for all
            kept = excess[np.linspace(0, len(excess) - 1, self.peaks).round().astype(int)]
        # sorted, they would leave the ring from the smallest: an order of no meaning instead
        kept = np.random.default_rng(0).permutation(kept)
        ring = np.zeros(self.peaks, dtype=np.float32)
        ring[: len(kept)] = kept
        rows = {
            "ring": ring,
            "held": np.array(len(kept), dtype=np.int32),
            "next": np.array(len(kept) % self.peaks, dtype=np.int32),
            "events": np.array(float(len(scores))),
            "over": np.array(float(len(excess))),
            "level": np.array(0.0),
        }
        rows["level"] = np.array(self._fit({k: v[None] for k, v in rows.items()}, np.array([0]))[0])
        return rows

    def _fit(self, rows: Rows, source: NDArray[np.integer]) -> NDArray[np.float64]:
        shape, scale = pareto.fit(rows["ring"][source], rows["held"][source], self.prior)
        share = self.risk * rows["events"][source] / np.maximum(rows["over"][source], 1e-9)
        level: NDArray[np.float64] = self._tail + pareto.quantile(shape, scale, share)
        return level

    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        rows = self._rows
        rows["events"][source] += 1
        peak = score > self._tail
        if peak.any():
            at, excess = source[peak], score[peak] - self._tail
            slot = rows["next"][at]
            rows["ring"][at, slot] = excess
            rows["next"][at] = (slot + 1) % self.peaks
            rows["held"][at] = np.minimum(rows["held"][at] + 1, self.peaks)
            rows["over"][at] += 1
            rows["level"][at] = self._fit(rows, at)
        full = source[rows["events"][source] >= self.memory]
        if len(full):
            rows["events"][full] /= 2
            rows["over"][full] /= 2
            rows["level"][full] = self._fit(rows, full)

    def _unlearn(self, source: int, score: float) -> None:
        rows = self._rows
        held = int(rows["held"][source])
        if score <= self._tail or held <= LEAST_PEAKS:
            return
        ring = rows["ring"][source]
        nearest = int(np.argmin(np.abs(ring[:held] - (score - self._tail))))
        # The ring stays a ring: what takes its place is the middle of what is held.
        ring[nearest] = np.median(np.delete(ring[:held], nearest))
        rows["over"][source] = max(rows["over"][source] - 1, 1.0)
        rows["events"][source] = max(rows["events"][source] - 1, 1.0)
        rows["level"][source] = self._fit(rows, np.array([source]))[0]


class Dspot(Spot):
    """SPOT on how far a score is from its source's moving average.

    The average is exponentially weighted, with the span of the paper's window of `depth` events:
    one number of state instead of `depth`.

    Args:
        depth: events that the average looks back on.
    """

    def __init__(
        self,
        risk: float = 1e-4,
        level: float = 0.95,
        depth: float = 450,
        peaks: int = 128,
        prior: float = 50,
        memory: int = 50_000,
        adapt_after_s: float | None = 3_600,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
    ) -> None:
        super().__init__(
            risk, level, peaks, prior, memory, adapt_after_s, adapt_events, verdict_limit
        )
        if depth < 1:
            raise ThresholdError(f"depth must be at least 1 event, not {depth}")
        self._rate = 2 / (depth + 1)

    def _start(self, scores: NDArray[np.float64]) -> Rows:
        average = float(scores.mean())
        rows = super()._start(scores - average)
        return rows | {
            "average": np.array(average),
            "margin": rows["level"],
            "level": np.array(average + float(rows["level"])),
        }

    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        rows = self._rows
        average = rows["average"][source]
        rows["level"][source] = rows["margin"][source]
        super()._learn(source, score - average)
        rows["margin"][source] = rows["level"][source]
        rows["average"][source] = average + self._rate * (score - average)
        rows["level"][source] = rows["average"][source] + rows["margin"][source]

    def _unlearn(self, source: int, score: float) -> None:
        rows = self._rows
        rows["level"][source] = rows["margin"][source]
        super()._unlearn(source, score - float(rows["average"][source]))
        rows["margin"][source] = rows["level"][source]
        rows["level"][source] = rows["average"][source] + rows["margin"][source]
