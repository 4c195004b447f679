"""k-nearest-neighbours: what is like the items of a history, and what like-minded users touched.

Item-based: Sarwar et al., WWW 2001; Deshpande & Karypis, TOIS 2004. User-based: Herlocker et al.,
SIGIR 1999.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from implicit.nearest_neighbours import ItemItemRecommender
from implicit.utils import ParameterWarning
from torch import Tensor

from models.recommender.classics.bags import recency, spread, touched
from models.recommender.classics.matrix import user_items
from models.recommender.classics.model import Classic
from models.recommender.interactions import DataError, Interactions


class ItemNeighbours(Classic):
    """Score = summed likeness to the items of the history, the recent ones more.

    Args:
        likeness: one of the `implicit` library's item-item models, which finds each item's K
            nearest (cosine, TF-IDF or BM25 weighting).
        decay: an item one step further back in the history counts so much less; 1: all the same.
    """

    what = "Item-based nearest neighbours"
    neighbours: Tensor  # [V + 1, K] graph ids; 0 where there are fewer
    weights: Tensor  # [V + 1, K]

    def __init__(self, likeness: ItemItemRecommender, decay: float = 1.0) -> None:
        super().__init__()
        if not 0 < decay <= 1:
            raise DataError(f"decay must be above 0 and at most 1, not {decay}")
        self.likeness = likeness
        self.decay = decay
        self.register_buffer("neighbours", torch.zeros(1, 1, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(1, 1))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        with warnings.catch_warnings():  # it tells itself in which form it passed the matrix on
            warnings.simplefilter("ignore", ParameterWarning)
            self.likeness.fit(user_items(data, train), show_progress=False)
        found = self.likeness.similarity.tocsr()
        found.setdiag(0)  # an item of the history is never recommended: its own place is wasted
        found.eliminate_zeros()
        counts = np.diff(found.indptr)
        width = max(int(counts.max(initial=0)), 1)
        row = np.repeat(np.arange(len(counts)), counts) + 1
        place = np.arange(found.nnz) - np.repeat(found.indptr[:-1], counts)
        neighbours = np.zeros((len(counts) + 1, width), dtype=np.int64)
        weights = np.zeros(neighbours.shape, dtype=np.float32)
        neighbours[row, place] = found.indices + 1
        weights[row, place] = found.data
        self.neighbours = torch.from_numpy(neighbours)
        self.weights = torch.from_numpy(weights)

    def score(self, history: Tensor) -> Tensor:
        weights = self.weights[history] * recency(history, self.decay)[:, :, None]  # [B, T, K]
        items = self.neighbours[history]
        return spread(items.flatten(1), weights.flatten(1), self.neighbours.shape[0])


class UserNeighbours(Classic):
    """Score = what the k users with the most alike histories touched.

    Likeness is the cosine between sets of items, shrunk where they have little in common. A
    neighbour's vote is how much more alike it is than the first user who is no neighbour, so that
    a tie at that border changes nothing.

    Args:
        k: neighbours asked.
        shrinkage: added to the cosine's denominator.
        sharpness: power of a neighbour's likeness in the vote.
        users: at most so many users, those with the most interactions, may be neighbours.
        max_cells: users × items that are held dense (4 bytes each), in the graph too; more is
            refused.
    """

    what = "User-based nearest neighbours"
    taste: Tensor  # [U, V + 1] 1 where a user touched an item
    sizes: Tensor  # [U] the root of how many items each touched

    def __init__(
        self,
        k: int = 200,
        shrinkage: float = 5.0,
        sharpness: float = 1.0,
        users: int = 20_000,
        max_cells: int = 250_000_000,
    ) -> None:
        super().__init__()
        self.k = k
        self.shrinkage = shrinkage
        self.sharpness = sharpness
        self.users = users
        self.max_cells = max_cells
        self.register_buffer("taste", torch.zeros(1, 1))
        self.register_buffer("sizes", torch.zeros(1))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        matrix = user_items(data, train)
        counts = np.diff(matrix.indptr)
        kept = np.sort(np.argsort(-counts, kind="stable")[: self.users])
        kept = kept[counts[kept] > 0]
        cells = len(kept) * (data.n_items + 1)
        if cells > self.max_cells:
            raise DataError(
                f"user neighbours of {len(kept)} users and {data.n_items} items hold {cells} "
                f"cells; the limit is max_cells={self.max_cells} (lower model.users to "
                f"{self.max_cells // (data.n_items + 1)})"
            )
        taste = np.zeros((len(kept), data.n_items + 1), dtype=np.float32)
        taste[:, 1:] = matrix[kept].toarray()
        self.taste = torch.from_numpy(taste)
        self.sizes = self.taste.sum(1).sqrt()

    def score(self, history: Tensor) -> Tensor:
        own = touched(history, self.taste.shape[1])
        size = own.sum(1, keepdim=True).sqrt()
        likeness = own @ self.taste.T / (size * self.sizes + self.shrinkage)  # [B, U]
        outside: Tensor | float = 0.0
        if self.k < self.taste.shape[0]:
            outside = likeness.topk(self.k + 1, dim=1).values[:, -1:]
        votes = (likeness - outside).clamp(min=0) ** self.sharpness
        return votes @ self.taste
