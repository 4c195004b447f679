"""User towers: a history of item vectors → where the next item lies.

Both take right-padded vectors in training, one state a position, and left-padded ones in serving,
the state after the last. Limits: they read at most `max_length` items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


class UserTower(nn.Module):
    """What reads a history of item vectors."""

    max_length: int

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        """Right-padded item vectors [B, T, D] and which are real [B, T] → states [B, T, D]."""
        raise NotImplementedError

    def last(self, items: Tensor, real: Tensor) -> Tensor:
        """Left-padded item vectors [B, T, D] → the state after the last item [B, D]."""
        raise NotImplementedError


class TransformerTower(UserTower):
    """A small causal transformer over item vectors.

    Args:
        block: called with no arguments, makes one block (`_partial_: true` in the config).
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        n_blocks: int,
        dropout: float,
        block: Callable[[], nn.Module],
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.inputs = nn.Linear(dim, dim)
        self.positions = nn.Embedding(max_length, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(block() for _ in range(n_blocks))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        nn.init.normal_(self.positions.weight, std=init_std)

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        """Padding stands after every real item: the causal order alone hides it."""
        steps = torch.arange(items.shape[1], device=items.device)
        x = self._embed(items, steps[None], real)
        for block in self.blocks:
            x = block(x, None)
        return cast(Tensor, self.out(self.norm(x)))

    def last(self, items: Tensor, real: Tensor) -> Tensor:
        """Positions count real items, as in training; the last block computes one query only."""
        positions = (real.long().cumsum(1) - 1).clamp(min=0)
        x = self._embed(items, positions, real)
        steps = torch.arange(items.shape[1], device=items.device)
        causal = steps[None, :] <= steps[:, None]  # [T, T]
        # A padded query may look at itself: a row with nothing to look at would give NaN.
        diagonal = steps[None, :] == steps[:, None]
        mask = (causal & real[:, None, :]) | diagonal  # [B, T, T]
        for n, block in enumerate(self.blocks):
            final = n == len(self.blocks) - 1
            x = block(x, mask[:, None, -1:] if final else mask[:, None], last=final)
        return cast(Tensor, self.out(self.norm(x))[:, -1])

    def _embed(self, items: Tensor, positions: Tensor, real: Tensor) -> Tensor:
        x = self.dropout(self.inputs(items) + self.positions(positions))
        return cast(Tensor, x * real.unsqueeze(-1))


class PooledTower(UserTower):
    """A learnt weighting of the recent items, and a perceptron over their mean and the last one.

    Far cheaper than attention, and all that short histories need. Weights depend on how long ago an
    item was only, w[0] being the last one's.
    """

    def __init__(self, dim: int, max_length: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.max_length = max_length
        self.recency = nn.Parameter(-0.1 * torch.arange(max_length, dtype=torch.float32))
        self.mix = nn.Sequential(
            nn.Linear(2 * dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        steps = torch.arange(items.shape[1], device=items.device)
        ago = steps[:, None] - steps[None, :]  # [T, T]
        weights = self.recency[ago.clamp(min=0)].exp() * (ago >= 0)
        weights = weights[None] * real[:, None, :]  # [B, T, T]
        mean = weights @ items / weights.sum(-1, keepdim=True).clamp(min=1e-9)
        return self._state(mean, items)

    def last(self, items: Tensor, real: Tensor) -> Tensor:
        ago = items.shape[1] - 1 - torch.arange(items.shape[1], device=items.device)
        weights = self.recency[ago].exp()[None] * real  # [B, T]
        mean = (weights[:, None] @ items)[:, 0] / weights.sum(-1, keepdim=True).clamp(min=1e-9)
        return self._state(mean, items[:, -1])

    def _state(self, mean: Tensor, newest: Tensor) -> Tensor:
        return cast(Tensor, mean + newest + self.mix(torch.cat([mean, newest], dim=-1)))
