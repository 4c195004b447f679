"""Item neighbours over what biases leave unexplained (Koren, TKDD 2010, §2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.interactions import DataError, Interactions
from models.recommender.ratings.biases import biases
from models.recommender.ratings.model import RatingModel
from models.recommender.ratings.table import Ratings


class RatingNeighbours(RatingModel):
    """Biases, and how the user's ratings of the k most alike items strayed from theirs.

    Items are alike where the same users stray alike; few users in common shrink that towards 0.
    A neighbour counts by how much more alike it is than the first item that is none, so that a tie
    at that border changes nothing.

    Args:
        k: neighbours asked, of those that the user rated.
        shrinkage: imagined users in common without any likeness.
        prior: imagined likeness of neighbours that say nothing: few and weak ones count less.
        max_cells: users × items and items × items that are held dense (4 bytes each); more is
            refused.
    """

    what = "Item neighbours over biases"
    bias: Tensor  # [U + 1], the mean included
    item_bias: Tensor  # [V + 1]
    strays: Tensor  # [U + 1, V + 1] rating − biases, 0 where there is none
    rated: Tensor  # [U + 1, V + 1] 1 where there is a rating
    likeness: Tensor  # [V + 1, V + 1] at least 0

    def __init__(
        self,
        scale: Sequence[float] | None,
        k: int = 40,
        shrinkage: float = 100.0,
        prior: float = 0.1,
        bias_shrinkage: float = 5.0,
        max_cells: int = 100_000_000,
    ) -> None:
        super().__init__(scale)
        self.k = k
        self.shrinkage = shrinkage
        self.prior = prior
        self.bias_shrinkage = bias_shrinkage
        self.max_cells = max_cells
        for name in ("bias", "item_bias"):
            self.register_buffer(name, torch.zeros(1))
        for name in ("strays", "rated", "likeness"):
            self.register_buffer(name, torch.zeros(1, 1))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        ratings = Ratings.of(data, train)
        cells = (max(ratings.n_users, ratings.n_items) + 1) * (ratings.n_items + 1)
        if cells > self.max_cells:
            raise DataError(
                f"neighbours of {ratings.n_users} users and {ratings.n_items} items hold {cells} "
                f"cells; the limit is max_cells={self.max_cells}; a factor model has none"
            )
        user_bias, item_bias = biases(ratings, self.bias_shrinkage, self.bias_shrinkage, 10)
        rest = ratings.stars - ratings.mean - user_bias[ratings.user] - item_bias[ratings.item]
        strays = ratings.matrix(rest)
        given = ratings.matrix(np.ones(len(ratings)))
        common = (given.T @ given).toarray()
        squares = (strays.multiply(strays).T @ given).toarray()  # of i's strays, where j is rated
        with np.errstate(divide="ignore", invalid="ignore"):
            likeness = (strays.T @ strays).toarray() / np.sqrt(squares * squares.T)
        likeness *= (common - 1) / (common - 1 + self.shrinkage)
        likeness = np.nan_to_num(likeness, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
        np.fill_diagonal(likeness, 0)
        self.bias = _framed(user_bias + ratings.mean)
        self.bias[0] = ratings.mean
        self.item_bias = _framed(item_bias)
        self.strays, self.rated = _framed(strays.toarray()), _framed(given.toarray())
        self.likeness = _framed(likeness)

    def stars(self, user: Tensor, item: Tensor) -> Tensor:
        likeness = self.likeness[item] * self.rated[user]  # [B, V + 1]
        return self.bias[user] + self.item_bias[item] + self._vote(likeness, self.strays[user])

    def catalog(self, user: Tensor) -> Tensor:
        rows = []
        for one in user.tolist():  # only the columns that the user rated
            rated = self.rated[one].nonzero().flatten()
            strays = self.strays[one][rated].expand(self.likeness.shape[0], -1)
            rows.append(self._vote(self.likeness[:, rated], strays) if len(rated) else 0)
        votes = torch.stack([torch.as_tensor(r).expand(len(self.item_bias)) for r in rows])
        return self.bias[user, None] + self.item_bias + votes

    def _vote(self, likeness: Tensor, strays: Tensor) -> Tensor:
        """Likeness and strays [B, N] → the weighted mean stray [B]."""
        if self.k < likeness.shape[1]:
            outside = likeness.topk(self.k + 1, dim=1).values[:, -1:]
            likeness = (likeness - outside).clamp(min=0)
        return (likeness * strays).sum(1) / (likeness.sum(1) + self.prior)


def _framed(table: np.ndarray) -> Tensor:
    """A row, and a column, 0 before the first, for the unknown."""
    framed = np.pad(table, [(1, 0)] * table.ndim).astype(np.float32)
    return torch.from_numpy(framed)
