"""Items that the same users touch: for each item the most similar ones, from co-occurrence counts.

The similarity of two items is the cosine of their users, n / √(a·b), shrunk by n / (n + shrinkage),
so that two items of one common user are not the most alike of all (Koren, KDD 2008).

Limits: memory is the distinct pairs of a block of items; a user's pairs grow with the square of the
history, so that of long ones only the recent part is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from models.recommender.histories import Histories

_BLOCK = 2048  # items whose counts are in memory together


@dataclass(frozen=True)
class Neighbourhood:
    """What to keep of each item.

    Args:
        n: neighbours of an item.
        shrinkage: common users that halve a similarity's distance from nothing.
        recent: items of a user that count, the most recent ones.
    """

    n: int
    shrinkage: float
    recent: int

    def of(self, histories: Histories, n_items: int) -> dict[str, Any]:
        """The content of `assets/neighbours.json`: `neighbours` and `similarities`, one list an
        item in the order of the vocabulary, the most similar first.

        Args:
            histories: graph ids 1…V of each user.
        """
        touched = self._touched(histories, n_items)  # [U, V]
        counts = np.asarray(touched.sum(axis=0)).ravel()  # [V]
        by_item = touched.T.tocsr()
        neighbours: list[list[int]] = []
        similarities: list[list[float]] = []
        for first in range(0, n_items, _BLOCK):
            common = (by_item[first : first + _BLOCK] @ touched).tocsr()  # [≤ BLOCK, V]
            for row in range(common.shape[0]):
                places = common.indices[common.indptr[row] : common.indptr[row + 1]]
                both = common.data[common.indptr[row] : common.indptr[row + 1]]
                other = places != first + row
                places, both = places[other], both[other]
                alike = both / np.sqrt(counts[first + row] * counts[places])
                alike *= both / (both + self.shrinkage)
                best = np.lexsort((places, -alike))[: self.n]
                neighbours.append(places[best].tolist())
                similarities.append([round(s, 5) for s in alike[best].tolist()])
        return {"neighbours": neighbours, "similarities": similarities}

    def _touched(self, histories: Histories, n_items: int) -> sparse.csr_matrix:
        """Which user touched which item; several touches count once."""
        recent = histories.recent(self.recent)
        lengths = recent.lengths.numpy()
        user = np.repeat(np.arange(len(recent)), lengths)
        within = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        item = recent.items.numpy()[np.repeat(recent.start.numpy(), lengths) + within] - 1
        ones = np.ones(len(item))
        touched = sparse.coo_matrix((ones, (user, item)), shape=(len(recent), n_items)).tocsr()
        touched.data[:] = 1.0
        return touched
