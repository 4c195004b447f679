"""What a shown item is expected to earn, for the doubly robust estimator."""

from __future__ import annotations

import numpy as np

from models.recommender.policy.sums import Array, Codes


class MeanRewards:
    """Means by item, place and context, each pulled towards the coarser one above it.

    The mean of a cell of n rows counts n / (n + strength), the rest is its parent's: item in
    context → item at place → item → all (empirical Bayes, as a chain of Gaussian means). Each row
    is told by a model that has not seen its cluster, so that the correction stays unbiased
    (cross-fitting, Chernozhukov et al., 2018).

    Args:
        strength: rows that a parent's mean is worth.
        folds: parts of the clusters.
    """

    def __init__(self, strength: float = 20.0, folds: int = 5, seed: int = 0) -> None:
        if strength <= 0:
            raise ValueError(f"strength must be above 0, not {strength}")
        if folds < 2:
            raise ValueError(f"folds must be at least 2, not {folds}")
        self.strength = strength
        self.folds = folds
        self.seed = seed

    def tell(
        self,
        item: Codes,
        place: Codes,
        context: Codes,
        reward: Array,
        cluster: Codes,
        actions: Codes,
        chances: Array,
    ) -> tuple[Array, Array]:
        """(E_π[q], q of what was shown), both [N].

        Args:
            actions: [N, K] item codes that the target may show; −1 for none.
            chances: [N, K] how likely it shows each.
        """
        rng = np.random.default_rng(self.seed)
        fold = rng.integers(self.folds, size=int(cluster.max()) + 1)[cluster]
        expected, fitted = np.zeros(len(item)), np.zeros(len(item))
        top = int(max(item.max(), actions.max(initial=0))) + 1
        for part in range(self.folds):
            out = fold == part
            if not out.any():
                continue
            known = ~out
            means = _Means(item[known], place[known], context[known], reward[known],
                           top, self.strength)  # fmt: skip
            fitted[out] = means.at(item[out], place[out], context[out])
            shape = actions[out].shape
            places = np.broadcast_to(place[out][:, None], shape)
            contexts = np.broadcast_to(context[out][:, None], shape)
            told = means.at(np.maximum(actions[out], 0), places, contexts)
            expected[out] = (told * chances[out] * (actions[out] >= 0)).sum(1)
        return expected, fitted


class _Means:
    """The chain of shrunken means of some rows; cells that they lack take their parent's."""

    def __init__(
        self,
        item: Codes,
        place: Codes,
        context: Codes,
        reward: Array,
        items: int,
        strength: float,
    ) -> None:
        self.items = items
        whole = float(reward.mean()) if len(reward) else 0.0
        self.levels: list[tuple[Codes, Array]] = []
        self.whole = whole
        keys = self._keys(item, place, context)
        for depth in range(len(keys)):
            parent = self._told(keys, depth)
            cells, where = np.unique(keys[depth], return_inverse=True)
            rows = np.bincount(where, minlength=len(cells))
            above = np.bincount(where, weights=parent, minlength=len(cells)) / np.maximum(rows, 1)
            total = np.bincount(where, weights=reward, minlength=len(cells))
            self.levels.append((cells, (total + strength * above) / (rows + strength)))

    def at(self, item: Codes, place: Codes, context: Codes) -> Array:
        return self._told(self._keys(item, place, context), len(self.levels))

    def _keys(self, item: Codes, place: Codes, context: Codes) -> list[Codes]:
        at_place = place * self.items + item
        return [item, at_place, context * (1 << 40) + at_place]

    def _told(self, keys: list[Codes], depth: int) -> Array:
        """The finest mean that the first `depth` levels have."""
        told = np.full(keys[0].shape, self.whole)
        for key, (cells, means) in zip(keys[:depth], self.levels, strict=False):
            if not len(cells):
                continue
            found = np.minimum(np.searchsorted(cells, key), len(cells) - 1)
            told = np.where(cells[found] == key, means[found], told)
        return told
