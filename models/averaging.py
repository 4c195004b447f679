"""Averages of weights over training steps, for validation and export."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def warm_ema(decay: float) -> Callable[[Tensor, Tensor, int | Tensor], Tensor]:
    """An exponential moving average that forgets its beginnings.

    The decay after n updates is min(decay, (1 + n) / (10 + n)): early on, when weights move fast,
    it spans few steps, so that a short training is not judged by where it started from. Buffers of
    whole numbers, such as a BERT's positions, have no average and are taken as they are.

    Raises:
        ValueError: `decay` lies outside 0 ≤ decay < 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in 0 ≤ decay < 1, not {decay}")

    def average(averaged: Tensor, current: Tensor, updates: int | Tensor) -> Tensor:
        if not averaged.is_floating_point():
            return current
        n = float(updates)
        keep = min(decay, (1 + n) / (10 + n))
        return averaged.lerp(current, 1 - keep)

    return average
