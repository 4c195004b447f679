"""The ratings that a model learns from: one a pair of user and item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from models.recommender.interactions import DataError, Floats, Interactions, Ints


def newest(data: Interactions) -> np.ndarray:
    """[N] bool: the last of the interactions of each pair of user and item, by time.

    Of equal times the later row of the input is the last, as everywhere.
    """
    pair = data.user * (data.n_items + 1) + data.item
    _, first = np.unique(pair[::-1], return_index=True)
    kept = np.zeros(len(data), dtype=bool)
    kept[len(data) - 1 - first] = True
    return kept


@dataclass(frozen=True)
class Ratings:
    """N ratings of U users and V items, by position."""

    user: Ints  # [N] 0 … U − 1
    item: Ints  # [N] 0 … V − 1
    stars: Floats  # [N]
    n_users: int
    n_items: int

    @classmethod
    def of(cls, data: Interactions, rows: np.ndarray) -> Ratings:
        """Those marked in `rows` [N] (bool), the newest of each pair.

        Raises:
            DataError: the data has no ratings, or none is marked.
        """
        if data.rating is None:
            raise DataError(
                "the interactions carry no ratings: a rating model needs them; take a ranking "
                "model (experiment=recommender/als, …) or data with ratings"
            )
        rows = rows & newest(data)
        if not rows.any():
            raise DataError("no rating to learn from; at least 1 is needed")
        stars = data.rating[rows]
        if not np.isfinite(stars).all():
            missing = int((~np.isfinite(stars)).sum())
            raise DataError(f"{missing} of {len(stars)} ratings are missing; all are needed")
        return cls(data.user[rows], data.item[rows] - 1, stars, data.n_users, data.n_items)

    def __len__(self) -> int:
        return len(self.stars)

    @property
    def mean(self) -> float:
        return float(self.stars.mean(dtype=np.float64))

    def matrix(self, values: np.ndarray | None = None) -> sparse.csr_matrix:
        """[U, V] of the stars, or of other values [N] in their places."""
        content = self.stars if values is None else values
        shape = (self.n_users, self.n_items)
        return sparse.csr_matrix((content, (self.user, self.item)), shape=shape)
