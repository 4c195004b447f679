"""Several raw scores of one event as one: the mean of their logarithms, each on its own scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Blend(nn.Module):
    """Positive scores of any unit, standardised on held-out normal events, and their weighted mean.

    A logarithm, because a score that is ten times the usual is as odd at any unit, and so that one
    score cannot outshout the others.

    Args:
        weights: of each score.
        least_share: of a score's median that counts as nothing; keeps the logarithm finite.
    """

    weights: Tensor
    least: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, weights: Sequence[float], least_share: float = 1e-3) -> None:
        super().__init__()
        self.least_share = least_share
        share = torch.tensor(list(weights), dtype=torch.float32)
        self.register_buffer("weights", share / share.sum())
        self.register_buffer("least", torch.full_like(share, 1e-6))
        self.register_buffer("centre", torch.zeros_like(share))
        self.register_buffer("spread", torch.ones_like(share))

    def fit(self, scores: Sequence[Tensor]) -> None:
        """Scores [N] of held-out normal events, one tensor a part."""
        joined = torch.stack(list(scores), dim=1).double()
        least = joined.median(0).values * self.least_share + 1e-5
        logs = torch.log(joined + least)
        deviation = logs.std(0, correction=0)
        # A score that never varies (constant data) has no scale but the inputs' own; and what the
        # last digits of its near-nothing do must not show.
        varies = deviation > 0.05
        self.least = torch.where(varies, least, least.clamp(min=1e-2)).float()
        self.centre = torch.log(joined + self.least).mean(0).float()
        self.spread = torch.where(varies, deviation, torch.ones(())).float()

    def forward(self, scores: Sequence[Tensor]) -> Tensor:
        logs = torch.log(torch.stack(list(scores), dim=1) + self.least)
        return ((logs - self.centre) / self.spread * self.weights).sum(1)


def shares(parts: Tensor) -> Tensor:
    """[B, F] of any sum → of sum 1; all zero stays zero."""
    return parts / torch.clamp(parts.sum(1, keepdim=True), min=1e-12)
