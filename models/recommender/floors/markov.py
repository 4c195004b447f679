"""First-order Markov counts: what most often followed the last item."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from models.recommender.interactions import Interactions


class Markov:
    """Score = training transitions last item → item; ties are broken by popularity.

    Limits: on the CPU; memory grows with distinct transitions, not with V².
    """

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        user, item = data.user[train], data.item[train]
        same = user[1:] == user[:-1]
        size = data.n_items + 1
        ones = np.ones(int(same.sum()), dtype=np.float32)
        edges = (item[:-1][same], item[1:][same])
        self.transitions = sparse.coo_matrix((ones, edges), shape=(size, size)).tocsr()
        counts = np.bincount(item, minlength=size).astype(np.float32)
        self.tie_breaker = torch.from_numpy(counts / (counts.sum() + 1))  # always below 1

    def score(self, history: Tensor) -> Tensor:
        rows = self.transitions[history[:, -1].cpu().numpy()].toarray()
        return (torch.from_numpy(rows) + self.tie_breaker).to(history.device)
