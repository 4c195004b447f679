"""How grave an anomaly is, from its score alone: scores are surprises, comparable everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.anomalies.store import SEVERITIES


class SeverityScale:
    """Bands of the score.

    Args:
        least: for each severity the least score that has it, rising; the lowest takes all below.

    Raises:
        ValueError: a severity is missing, unknown, or out of order.
    """

    def __init__(self, least: Mapping[str, float]) -> None:
        if tuple(least) != SEVERITIES:
            raise ValueError(f"severities are {list(SEVERITIES)} in this order, not {list(least)}")
        self._bounds = np.array(list(least.values())[1:], dtype=np.float64)
        if np.any(np.diff(self._bounds) <= 0):
            raise ValueError(f"least scores must rise with severity, not {dict(least)}")

    def of(self, scores: NDArray[np.floating]) -> list[str]:
        """The severity of each score [N]."""
        return [SEVERITIES[i] for i in np.searchsorted(self._bounds, scores, side="right")]
