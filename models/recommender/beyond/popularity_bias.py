"""Whether lists are more popular than what their users like, by kind of user.

Follows Abdollahpouri et al., "The unfairness of popularity bias in recommendation" (RMSE workshop,
RecSys 2019): group average popularity (GAP) of profiles and of lists, for users of niche, diverse
and blockbuster taste.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.histories import Histories
from models.recommender.interactions import Interactions

GROUPS = ("niche", "diverse", "blockbuster")


class PopularityBias:
    """`popularity_lift_<group>@k` = (GAP of lists − GAP of profiles) / GAP of profiles.

    0 is calibrated: lists are as popular as the group's own taste; 1 means twice as popular. An
    item's popularity is the share of users who touched it in training. Users are sorted by the
    share of popular items in their profile: the lowest `edge` of them are niche, the highest
    blockbuster. Profiles are the histories that the evaluation asks with.

    Args:
        head: share of the catalog, the most touched first, that counts as popular.
        edge: share of users in the niche and in the blockbuster group each.
    """

    shares: list[Tensor]
    liked: list[Tensor]
    shown: list[Tensor]

    def __init__(self, head: float = 0.2, edge: float = 0.2) -> None:
        if not 0 < head < 1:
            raise ValueError(f"head must lie between 0 and 1, not {head}")
        if not 0 < edge <= 0.5:
            raise ValueError(f"edge must lie in 0 < edge ≤ 0.5, not {edge}")
        self.head = head
        self.edge = edge

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        pairs = np.unique(data.user[train] * (data.n_items + 1) + data.item[train])
        users = np.bincount(pairs % (data.n_items + 1), minlength=data.n_items + 1)
        known = max(len(np.unique(data.user[train])), 1)
        self.popularity = torch.from_numpy(users / known)  # [V + 1] float64
        order = np.argsort(-users[1:], kind="stable")[: max(1, round(self.head * data.n_items))]
        self.popular = torch.zeros(data.n_items + 1, dtype=torch.float64)
        self.popular[torch.from_numpy(order) + 1] = 1.0
        self._forget()

    def see(self, lists: Tensor, histories: Histories) -> None:
        profile = histories.pad("left")  # [B, T]
        real = profile != 0
        length = real.sum(1).clamp(min=1)
        self.popularity = self.popularity.to(lists.device)
        self.popular = self.popular.to(lists.device)
        self.shares.append((self.popular[profile].sum(1) / length).cpu())
        self.liked.append((self.popularity[profile].sum(1) / length).cpu())
        self.shown.append(self.popularity[lists].cumsum(1).cpu())

    def metrics(self, ks: Sequence[int]) -> dict[str, float]:
        if not self.shares:
            return {}
        share, liked = torch.cat(self.shares), torch.cat(self.liked)
        shown = torch.cat(self.shown)  # [R, K]: sums of each prefix
        self._forget()
        order = torch.argsort(share, stable=True)
        edge = max(1, round(self.edge * len(order)))
        parts = (order[:edge], order[edge : len(order) - edge], order[len(order) - edge :])
        found = {}
        for name, rows in zip(GROUPS, parts, strict=True):
            own = liked[rows].mean()
            if not len(rows) or own <= 0:
                continue  # no such user, or none who touched what others train on
            for k in ks:
                place = min(k, shown.shape[1])
                lists = shown[rows, place - 1].mean() / place
                found[f"popularity_lift_{name}@{k}"] = (lists / own - 1).item()
        return found

    def _forget(self) -> None:
        self.shares = []
        self.liked = []
        self.shown = []
