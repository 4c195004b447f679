"""EASE: the closed-form linear item-item model (Steck, WWW 2019)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from models.recommender.interactions import DataError, Interactions


class EASE:
    """Score = summed weights from all items of the history.

    Args:
        regularization: λ on the diagonal of the Gram matrix.
        max_items: above this the V × V inverse (4·V² bytes, O(V³) time) is refused.
    """

    def __init__(self, regularization: float = 500.0, max_items: int = 20_000) -> None:
        self.regularization = regularization
        self.max_items = max_items

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        if data.n_items > self.max_items:
            raise DataError(
                f"EASE on {data.n_items} items needs a dense inverse of that size; the limit is "
                f"max_items={self.max_items} (leave it out with evaluation.floors.ease=null)"
            )
        ones = np.ones(int(train.sum()), dtype=np.float32)
        index = (data.user[train], data.item[train] - 1)
        touched = sparse.coo_matrix((ones, index), shape=(data.n_users, data.n_items)).tocsr()
        touched.data[:] = 1.0  # several touches of one item count once
        gram = torch.from_numpy((touched.T @ touched).toarray()).double()
        gram.diagonal().add_(self.regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0.0)
        self.weights = weights.float()  # [V, V]

    def score(self, history: Tensor) -> Tensor:
        n_items = len(self.weights)
        bag = torch.zeros(len(history), n_items + 1)
        bag.scatter_(1, history.cpu(), 1.0)
        scores = bag[:, 1:] @ self.weights
        return torch.cat([torch.zeros(len(bag), 1), scores], dim=1).to(history.device)
