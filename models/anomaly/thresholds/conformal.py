"""Thresholds with a guarantee: conformal p-values within each source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.bank import Bank, Rows
from models.anomaly.thresholds.threshold import ThresholdError


class Conformal(Bank):
    """An event alarms where its conformal p-value is at most `risk`.

    The p-value of a score is (1 + how many of a window's n scores are as high) / (n + 1); it is at
    most `risk` exactly where the score exceeds the k-th highest, k = ⌊risk · (n + 1)⌋. While a
    source's scores are exchangeable, a normal event alarms with a probability of at most `risk`,
    whatever their distribution (Vovk, Gammerman & Shafer 2005); one window for each source makes
    that hold within each (Mondrian). The window slides, so that it holds for what is recent.

    A new source's window is a sample of the calibration scores, which its own then replace; the
    guarantee is its own once `window` of its events have come. It is exact without `cut`; then a
    few anomalies hide all that is less for a whole window, as exchangeability wants it.

    Args:
        risk: largest share of normal events that alarm.
        window: scores that a source keeps, at least 1 / risk − 1; 4 bytes of state each.
        adapt_after_s, adapt_events, verdict_limit, cut: see `Bank`.
    """

    def __init__(
        self,
        risk: float = 2e-3,
        window: int = 1_000,
        adapt_after_s: float | None = 3_600,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
        cut: float | None = 0.25,
    ) -> None:
        super().__init__(risk, adapt_after_s, adapt_events, verdict_limit, cut)
        if window < self._needed():
            raise ThresholdError(
                f"a window of {window} scores has no p-value as small as {risk:g}; it takes at "
                f"least {self._needed()}"
            )
        self.window = window
        self._rank = int(risk * (window + 1) + 1e-9)

    def _needed(self) -> int:
        return int(np.ceil(1 / self.risk - 1e-9)) - 1

    def _start(self, scores: NDArray[np.float64]) -> Rows:
        positions = np.linspace(0, len(scores) - 1, self.window).round().astype(int)
        sample = np.random.default_rng(0).permutation(scores[positions])
        return {
            "scores": sample.astype(np.float32),
            "next": np.array(0, dtype=np.int32),
            "level": self._highest(sample[None])[0],
        }

    def _highest(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """[n, window] → the k-th highest of each row."""
        at = self.window - self._rank
        chosen: NDArray[np.float64] = np.partition(scores, at, axis=1)[:, at].astype(np.float64)
        return chosen

    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        rows = self._rows
        slot, level = rows["next"][source], rows["level"][source]
        leaving = rows["scores"][source, slot]
        rows["scores"][source, slot] = score
        rows["next"][source] = (slot + 1) % self.window
        # The k-th highest only moves where one comes or goes at its height or above.
        touched = source[(score >= level) | (leaving >= level)]
        if len(touched):
            rows["level"][touched] = self._highest(rows["scores"][touched])

    def _unlearn(self, source: int, score: float) -> None:
        scores = self._rows["scores"][source]
        scores[np.argmin(np.abs(scores - score))] = np.median(scores)
        self._rows["level"][source] = self._highest(scores[None])[0]
