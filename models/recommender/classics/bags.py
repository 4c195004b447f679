"""A history as one row over the catalog, and how much each of its places counts."""

from __future__ import annotations

import torch
from torch import Tensor


def touched(history: Tensor, size: int) -> Tensor:
    """History [B, T] → [B, size] with 1 where the item occurs; column 0, padding, stays 0."""
    bag = torch.zeros(history.shape[0], size, device=history.device)
    return bag.scatter(1, history, (history != 0).float())


def recency(history: Tensor, decay: float) -> Tensor:
    """Weights [B, T] of a left-padded history's places: 1 at its end, `decay` times less each step
    back, 0 for padding.
    """
    steps = torch.arange(history.shape[1], device=history.device)
    back = (history.shape[1] - 1 - steps).float()
    return decay**back * (history != 0)


def spread(items: Tensor, weights: Tensor, size: int) -> Tensor:
    """Add weights [B, N] at items [B, N] → [B, size]."""
    row = torch.zeros(items.shape[0], size, device=items.device)
    return row.scatter_add(1, items, weights)
