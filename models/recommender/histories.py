"""Ragged item histories in one flat tensor, gathered into padded batches on their own device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.recommender.interactions import Interactions, Ints

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Histories:
    """R histories, each a run `[start, end)` of one flat tensor of graph ids [M]."""

    items: Tensor  # [M] int64 graph ids
    start: Tensor  # [R] int64
    end: Tensor  # [R] int64

    @classmethod
    def of_users(cls, data: Interactions, known: np.ndarray) -> Histories:
        """One history a user, of the interactions marked in `known` [N] (bool), in time order."""
        before = _counts_before(known)
        starts = data.user_starts()
        return cls(
            torch.from_numpy(data.item[known]),
            torch.from_numpy(before[starts[:-1]]),
            torch.from_numpy(before[starts[1:]]),
        )

    @classmethod
    def before(cls, data: Interactions, known: np.ndarray, rows: Ints) -> Histories:
        """For each interaction in `rows` [R], what `known` holds of its user up to that moment."""
        before = _counts_before(known)
        starts = data.user_starts()[data.user[rows]]
        return cls(
            torch.from_numpy(data.item[known]),
            torch.from_numpy(before[starts]),
            torch.from_numpy(before[rows]),
        )

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> Tensor:
        return self.end - self.start

    def to(self, device: torch.device) -> Histories:
        return Histories(self.items.to(device), self.start.to(device), self.end.to(device))

    def take(self, rows: Tensor) -> Histories:
        """A selection of the histories, sharing the flat tensor."""
        return Histories(self.items, self.start[rows], self.end[rows])

    def split(self, length: int) -> Histories:
        """Cut each history from its end into runs of at most `length` that overlap by one item.

        With inputs `run[:-1]` and targets `run[1:]`, every transition is then seen exactly once.
        Runs of fewer than two items teach nothing and are left out.
        """
        step = length - 1
        pieces = torch.clamp((self.lengths - 1 + step - 1) // step, min=0)
        owner = torch.repeat_interleave(torch.arange(len(self), device=pieces.device), pieces)
        first = torch.cumsum(pieces, 0) - pieces
        nth = torch.arange(len(owner), device=pieces.device) - first[owner]
        end = self.end[owner] - nth * step
        start = torch.maximum(self.start[owner], end - length)
        return Histories(self.items, start, end)

    def recent(self, length: int) -> Histories:
        """Each history's last `length` items."""
        return Histories(self.items, torch.maximum(self.start, self.end - length), self.end)

    def pad(self, side: Side = "left") -> Tensor:
        """All histories as one tensor [R, T], T the longest, padded with 0 on the given side."""
        width = int(self.lengths.max()) if len(self) else 0
        steps = torch.arange(max(width, 1), device=self.items.device)
        if side == "left":
            index = self.end[:, None] - len(steps) + steps
            valid = index >= self.start[:, None]
        else:
            index = self.start[:, None] + steps
            valid = index < self.end[:, None]
        if not len(self.items):
            return torch.zeros(len(self), len(steps), dtype=torch.int64, device=self.items.device)
        gathered = self.items[index.clamp(0, len(self.items) - 1)]
        return gathered.masked_fill(~valid, 0)


def _counts_before(known: np.ndarray) -> Ints:
    """[N + 1]: how many marked entries stand before each position."""
    counts = np.zeros(len(known) + 1, dtype=np.int64)
    np.cumsum(known, out=counts[1:])
    return counts
