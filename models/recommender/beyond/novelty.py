"""How unexpected the shown items are: mean self-information (Zhou et al., PNAS 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.histories import Histories
from models.recommender.interactions import Interactions


class Novelty:
    """`novelty@k`: mean −log₂ of the share of users who touched a shown item in training, in bits.

    One more user counts for each item, so that an item that nobody touched has a value too. A list
    of what everybody knows has 0 bits; one of items that one user in a thousand touched, about 10.
    """

    total: Tensor
    count: int

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        pairs = np.unique(data.user[train] * (data.n_items + 1) + data.item[train])
        users = np.bincount(pairs % (data.n_items + 1), minlength=data.n_items + 1)
        known = len(np.unique(data.user[train]))
        share = torch.from_numpy((users + 1) / (known + 1))
        self.bits = -torch.log2(share).float()  # [V + 1]
        self._forget()

    def see(self, lists: Tensor, histories: Histories) -> None:
        bits = self.bits.to(lists.device)[lists]  # [B, K]
        self.total = self.total + bits.double().sum(0).cpu()
        self.count += len(lists)

    def metrics(self, ks: Sequence[int]) -> dict[str, float]:
        means = self.total / max(self.count, 1)
        found = {f"novelty@{k}": means[:k].mean().item() for k in ks}
        self._forget()
        return found

    def _forget(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)  # becomes [K]
        self.count = 0
