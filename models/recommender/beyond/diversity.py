"""How unlike one another the items of a list are (Ziegler et al., WWW 2005)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.beyond.item_vectors import ItemVectors
from models.recommender.histories import Histories
from models.recommender.interactions import Interactions


class Diversity:
    """`diversity@k`: mean of 1 − likeness over all pairs of a list, for k ≥ 2.

    Sums of vectors give all pairs at once, Σ_{i≠j} x_i·x_j = |Σx|² − Σ|x|², so that a list costs
    its length and not its square.

    Args:
        items: places items in a space: by who touched them, or by their attributes.
    """

    total: Tensor
    count: int

    def __init__(self, items: ItemVectors) -> None:
        self.items = items

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        self.vectors = self.items.vectors(data, train)
        self._forget()

    def see(self, lists: Tensor, histories: Histories) -> None:
        self.vectors = self.vectors.to(lists.device)
        chosen = self.vectors[lists]  # [B, K, W]
        whole = chosen.cumsum(1).square().sum(2)  # [B, K]: |Σx|² of each prefix
        own = chosen.square().sum(2).cumsum(1)
        places = torch.arange(1, lists.shape[1] + 1, device=lists.device)
        pairs = (places * (places - 1)).clamp(min=1)
        self.total = self.total + (1 - (whole - own) / pairs).double().sum(0).cpu()
        self.count += len(lists)

    def metrics(self, ks: Sequence[int]) -> dict[str, float]:
        means = self.total / max(self.count, 1)
        longest = len(means)
        found = {f"diversity@{k}": means[min(k, longest) - 1].item() for k in ks if k > 1}
        self._forget()
        return found

    def _forget(self) -> None:
        self.total = torch.zeros(1, dtype=torch.float64)  # becomes [K]
        self.count = 0
