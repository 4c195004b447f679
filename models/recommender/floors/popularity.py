"""The same for everybody: items by how often they were touched, lately or ever."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.recommender.classics.model import Classic
from models.recommender.interactions import DataError, Interactions

_DAY = 86_400_000_000  # microseconds


class Popularity(Classic):
    """Score = number of training interactions, each worth half as much every `half_life_days`.

    Args:
        half_life_days: age, counted back from the newest training interaction, at which an
            interaction counts half; None: all count the same.
    """

    what = "The most popular items, the same for everybody"
    counts: Tensor  # [V + 1]

    def __init__(self, half_life_days: float | None = None) -> None:
        super().__init__()
        if half_life_days is not None and not half_life_days > 0:
            raise DataError(f"half_life_days must be above 0 or null, not {half_life_days}")
        self.half_life_days = half_life_days
        self.register_buffer("counts", torch.zeros(0))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        weights = None
        if self.half_life_days is not None:
            time = data.timestamp[train]
            age = (time.max(initial=0) - time) / _DAY
            weights = 0.5 ** (age / self.half_life_days)
        counts = np.bincount(data.item[train], weights, minlength=data.n_items + 1)
        self.counts = torch.from_numpy(counts).float()

    def score(self, history: Tensor) -> Tensor:
        return self.counts.to(history.device).repeat(history.shape[0], 1)
