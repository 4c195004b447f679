"""Any detector's raw score → a surprise: how rare it is among normal events, in powers of ten."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.anomaly.telemetry import TelemetryError
from models.anomaly.unmarked import usual

log = logging.getLogger(__name__)


class Surprise(nn.Module):
    """−log10 of the share of held-out normal events that score as high; strictly rising.

    Linear between quantiles of the held-out raw scores, closer together towards the tail. Beyond
    the quantile that `tail` events exceed, shares fall exponentially at the rate of those events'
    mean excess (the generalised Pareto tail of Pickands, 1975, with shape 0). Below the least raw
    score the surprise falls towards 0 and never reaches it.

    Args:
        knots: quantiles kept.
        tail: events from which the tail's rate is taken; a tenth of all, if that is fewer.
        least_spread: a smaller mean excess of the raw score counts as this much.
        unmarked: largest share of the held-out events that may be incidents which nobody marked,
            and are left out where they show; see `models.anomaly.unmarked`.
    """

    raw: Tensor
    surprise: Tensor
    below: Tensor
    rate: Tensor

    def __init__(
        self,
        knots: int = 64,
        tail: int = 20,
        least_spread: float = 1e-4,
        unmarked: float = 0.01,
    ) -> None:
        super().__init__()
        self.knots = knots
        self.tail = tail
        self.least_spread = least_spread
        self.unmarked = unmarked
        for name in ("raw", "surprise", "below", "rate"):
            self.register_buffer(name, torch.zeros(0))

    def fit(self, raw: NDArray[np.floating]) -> None:
        """Learn from raw scores [N] of normal events that the detector did not learn from.

        Raises:
            TelemetryError: none are given, or one is not finite.
        """
        ordered = np.sort(np.asarray(raw, np.float64))
        n = len(ordered)
        if n == 0 or not np.isfinite(ordered).all():
            raise TelemetryError(
                f"{n} raw scores, {int((~np.isfinite(ordered)).sum())} of them not finite: at "
                "least one is needed, all finite"
            )
        ordered = ordered[usual(ordered, self.unmarked)]
        if len(ordered) < n:
            log.info("%d of %d held-out events look like unmarked incidents", n - len(ordered), n)
            n = len(ordered)
        tail = max(1, min(self.tail, n // 10))
        # Ranks from the top, evenly in the logarithm: n … tail, so that the tail is finely drawn.
        ranks = np.unique(np.round(np.geomspace(n, tail, self.knots)).astype(int))[::-1]
        # In float32, as they are kept: what is one number there must be one here.
        points = np.unique(ordered[n - ranks].astype(np.float32)).astype(np.float64)
        rounded = ordered.astype(np.float32)
        share = (n - np.searchsorted(rounded, points, side="left")) / (n + 1)
        start = points[-1]
        excess = ordered[ordered > start] - start
        spread = float(excess.mean()) if len(excess) else float(np.ptp(ordered))
        if np.ptp(ordered) <= self.least_spread:
            spread = 1.0  # nothing varies: one unit of the raw score stands for a factor of e
        spread = max(spread, self.least_spread)
        self.raw = torch.from_numpy(points).float()
        self.surprise = torch.from_numpy(-np.log10(share)).float()
        self.rate = torch.tensor(1.0 / (spread * math.log(10)), dtype=torch.float32)
        middle = float(np.ptp(points)) or spread
        self.below = torch.tensor(1.0 / middle, dtype=torch.float32)

    def forward(self, raw: Tensor) -> Tensor:
        """[B] → [B], positive."""
        last = self.raw[-1]
        above = self.surprise[-1] + (raw - last) * self.rate
        under = self.surprise[0] * torch.exp(torch.clamp(raw - self.raw[0], max=0.0) * self.below)
        if len(self.raw) == 1:
            return torch.where(raw >= last, above, under)
        at = (raw[:, None] >= self.raw[None, :]).sum(1)
        right = torch.clamp(at, 1, len(self.raw) - 1)
        x0, x1 = self.raw[right - 1], self.raw[right]
        y0, y1 = self.surprise[right - 1], self.surprise[right]
        between = y0 + (y1 - y0) * (raw - x0) / (x1 - x0)
        return torch.where(raw >= last, above, torch.where(raw < self.raw[0], under, between))
