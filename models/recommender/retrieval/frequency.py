"""How likely a batch is to hold an item: what the log-Q correction subtracts.

Every item of a batch is a negative of every position once, however often it stands there. So what
counts is the probability that a batch holds it at all.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class Frequency(nn.Module):
    """An estimate of how often batches hold items."""

    def observe(self, items: Tensor) -> None:
        """Take in a training batch's distinct items [K]."""
        raise NotImplementedError

    def inclusion(self, items: Tensor, draws: int) -> Tensor:
        """[C] the probability that a batch of so many positions holds each of the items."""
        raise NotImplementedError


class ExactCounts(Frequency):
    """From the counts of the training set, which is known when nothing streams.

    Args:
        counts: [V + 1] training interactions.
    """

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        share = counts.double() / counts.sum().clamp(min=1)
        self.register_buffer("log_absent", torch.log1p(-share).float())

    def observe(self, items: Tensor) -> None:
        """Nothing is learnt: the counts are known."""

    def inclusion(self, items: Tensor, draws: int) -> Tensor:
        """1 − (1 − share)^draws."""
        return -torch.expm1(draws * cast(Tensor, self.log_absent)[items])


class StreamingFrequency(Frequency):
    """From the steps between an item's appearances, for training that never sees its whole data.

    A moving average of the interval, whose inverse is the probability, in Algorithm 2 of Yi et
    al., "Sampling-bias-corrected neural modeling for large corpus item recommendations"
    (RecSys 2019), with one cell an item instead of hashed ones.

    Args:
        counts: [V + 1], of which only the length is used.
        rate: weight of the newest interval.
        first: the interval assumed before anything was seen.
    """

    def __init__(self, counts: Tensor, rate: float = 0.05, first: float = 100.0) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate must lie in 0 < rate ≤ 1, not {rate}")
        self.rate = rate
        self.register_buffer("interval", torch.full((len(counts),), first))
        self.register_buffer("seen_at", torch.zeros(len(counts)))
        self.register_buffer("step", torch.zeros(()))

    def observe(self, items: Tensor) -> None:
        step = cast(Tensor, self.step).add_(1)
        interval, seen_at = cast(Tensor, self.interval), cast(Tensor, self.seen_at)
        gap = step - seen_at[items]
        interval[items] = (1 - self.rate) * interval[items] + self.rate * gap
        seen_at[items] = step

    def inclusion(self, items: Tensor, draws: int) -> Tensor:
        return (1 / cast(Tensor, self.interval)[items]).clamp(max=1.0)
