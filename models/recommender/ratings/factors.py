"""What all factor models are once fitted: biases and a product of two vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.ratings.model import RatingModel


class FactorModel(RatingModel):
    """Stars = mean + user's bias + item's bias + user's vector · item's vector.

    Row 0 of each table is for users and items that nobody knows: they get the mean.
    """

    mean: Tensor  # []
    user_bias: Tensor  # [U + 1]
    item_bias: Tensor  # [V + 1]
    user_vectors: Tensor  # [U + 1, D]
    item_vectors: Tensor  # [V + 1, D]

    def __init__(self, scale: Sequence[float] | None) -> None:
        super().__init__(scale)
        self.register_buffer("mean", torch.zeros(()))
        for side in ("user", "item"):
            self.register_buffer(f"{side}_bias", torch.zeros(1))
            self.register_buffer(f"{side}_vectors", torch.zeros(1, 1))

    def keep(
        self,
        mean: float,
        user_bias: np.ndarray,
        item_bias: np.ndarray,
        user_vectors: np.ndarray,
        item_vectors: np.ndarray,
    ) -> None:
        """Put what was fitted for U users and V items into the buffers."""
        self.mean = torch.tensor(mean, dtype=torch.float32)
        self.user_bias, self.item_bias = _with_unknown(user_bias), _with_unknown(item_bias)
        self.user_vectors = _with_unknown(user_vectors)
        self.item_vectors = _with_unknown(item_vectors)

    def stars(self, user: Tensor, item: Tensor) -> Tensor:
        product = (self.user_vectors[user] * self.item_vectors[item]).sum(1)
        return self.mean + self.user_bias[user] + self.item_bias[item] + product

    def catalog(self, user: Tensor) -> Tensor:
        products = self.user_vectors[user] @ self.item_vectors.T
        return self.mean + self.user_bias[user, None] + self.item_bias + products


def _with_unknown(table: np.ndarray) -> Tensor:
    rows = torch.from_numpy(np.asarray(table, dtype=np.float32))
    return torch.cat([torch.zeros_like(rows[:1]), rows])
