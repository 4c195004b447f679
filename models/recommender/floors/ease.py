"""EASE: the closed-form linear item-item model (Steck, WWW 2019)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.recommender.classics.bags import touched
from models.recommender.classics.matrix import user_items
from models.recommender.classics.model import Classic
from models.recommender.interactions import DataError, Interactions


class EASE(Classic):
    """Score = summed weights from all items of the history.

    Args:
        regularization: λ on the diagonal of the Gram matrix.
        max_items: above this the V × V inverse (4·V² bytes, O(V³) time) is refused.
    """

    what = "EASE, a linear item-to-item model in closed form"
    weights: Tensor  # [V, V]

    def __init__(self, regularization: float = 500.0, max_items: int = 20_000) -> None:
        super().__init__()
        self.regularization = regularization
        self.max_items = max_items
        self.register_buffer("weights", torch.zeros(0, 0))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        if data.n_items > self.max_items:
            raise DataError(
                f"EASE on {data.n_items} items needs a dense inverse of that size; the limit is "
                f"max_items={self.max_items} (leave it out with evaluation.floors.ease=null)"
            )
        matrix = user_items(data, train)  # several touches of one item count once
        gram = torch.from_numpy((matrix.T @ matrix).toarray()).double()
        gram.diagonal().add_(self.regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0.0)
        self.weights = weights.float()

    def score(self, history: Tensor) -> Tensor:
        weights = self.weights.to(history.device)
        scores = touched(history, weights.shape[0] + 1)[:, 1:] @ weights
        return torch.cat([torch.zeros_like(scores[:, :1]), scores], dim=1)
