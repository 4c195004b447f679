"""A threshold that does not move by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.bank import Bank, Rows


class Static(Bank):
    """One number, the same for all sources; verdicts and, where asked for, drift still move it.

    Args:
        value: the threshold; None: the score that a share `risk` of the calibration scores exceeds.
        risk: only used without `value`.
        adapt_after_s, adapt_events, verdict_limit: see `Bank`.
    """

    def __init__(
        self,
        value: float | None = None,
        risk: float = 1e-3,
        adapt_after_s: float | None = None,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
    ) -> None:
        super().__init__(risk, adapt_after_s, adapt_events, verdict_limit)
        self.value = value

    def _needed(self) -> int:
        return 1 if self.value is not None else int(np.ceil(1 / self.risk))

    def _start(self, scores: NDArray[np.float64]) -> Rows:
        chosen = np.quantile(scores, 1 - self.risk, method="higher")
        return {"level": np.array(float(chosen if self.value is None else self.value))}

    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        """It does not."""

    def _unlearn(self, source: int, score: float) -> None:
        """There is nothing to forget."""
