"""What an event should have been: the mean of the normal events that are like it elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.anomaly.classical.distances import squared
from models.anomaly.classical.model import Matrix, inputs, some
from models.anomaly.preparation import Prepared


class Likeness(nn.Module):
    """k nearest normal events by the fields that were seen and lie where normal ones do.

    A field that is missing or out of range has no say in which events are alike: else the most
    extreme normal events would be found for it, not the usual ones.

    Args:
        rows: normal events remembered.
        neighbours: of which the mean is taken; with them, all that are as near as the last of them.
        outside: share of normal values, on each side, that counts as out of range.
        seed: which events are remembered.
    """

    memory: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, rows: int = 2000, neighbours: int = 10, outside: float = 0.005, seed: int = 0
    ) -> None:
        super().__init__()
        self.rows = rows
        self.neighbours = neighbours
        self.outside = outside
        self.seed = seed
        for name in ("memory", "low", "high"):
            self.register_buffer(name, torch.zeros(0))

    def learn(self, normal: Matrix) -> None:
        """Args: normal: [N, D]."""
        self.memory = torch.from_numpy(some(normal, self.rows, self.seed).copy())
        low, high = np.quantile(normal, [self.outside, 1.0 - self.outside], axis=0)
        self.low, self.high = torch.from_numpy(low).float(), torch.from_numpy(high).float()

    def forward(self, prepared: Prepared) -> Tensor:
        """[B, F] in scaled units."""
        x = inputs(prepared)
        fields = prepared.x.shape[1]
        seen = torch.cat([prepared.present, torch.ones_like(prepared.context)], dim=1)
        weight = seen * ((x >= self.low) & (x <= self.high)).to(x.dtype)
        distance = squared(x, self.memory, weight)
        k = min(self.neighbours, len(self.memory))
        last = torch.topk(distance, k, dim=1, largest=False).values[:, -1:]
        # Among rows of few distinct values many are equally near: which of them a runtime finds
        # first is its own affair. Distances are exact to about a millionth of the squared norms.
        slack = 1e-5 * (1.0 + (weight * x * x).sum(1, keepdim=True))
        near = (distance <= last + slack).to(x.dtype)
        return near @ self.memory[:, :fields] / near.sum(1, keepdim=True)
