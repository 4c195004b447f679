"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) over the items' content."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

_WIDTH = 256  # of a content vector: hashed words and values


class MMR:
    """Each next item is the best by `relevance · its score − (1 − relevance) · its likeness to the
    most alike item before it`.

    Scores are scaled to [0, 1] within the pool; likeness is the cosine of hashed content.

    Args:
        relevance: 1 leaves the order as it is, 0 looks at likeness only.
        weights: the item's features that make up its content, and what each counts. A text's words
            count one by one, other values as a whole.
    """

    def __init__(
        self, resources: Resources, relevance: float, weights: Mapping[str, float]
    ) -> None:
        self.relevance = relevance
        self.weights = {resources.item_feature(name): float(w) for name, w in weights.items()}
        self.attributes = tuple(self.weights)

    def arrange(self, pool: Pool, n: int) -> list[int]:
        size = len(pool.items)
        if size < 2:
            return list(range(size))
        vectors = self._vectors(pool)  # [K, W]
        scores = np.asarray(pool.scores)
        spread = float(np.ptp(scores)) or 1.0
        gain = self.relevance * (scores - scores.min()) / spread  # [K]
        closest = np.zeros(size)  # likeness to the most alike item chosen so far
        order: list[int] = []
        free = np.ones(size, dtype=bool)
        while len(order) < min(n, size):
            value = np.where(free, gain - (1 - self.relevance) * closest, -np.inf)
            place = int(value.argmax())
            order.append(place)
            free[place] = False
            np.maximum(closest, vectors @ vectors[place], out=closest)
        return [*order, *np.flatnonzero(free).tolist()]

    def _vectors(self, pool: Pool) -> np.ndarray[Any, Any]:
        vectors = np.zeros((len(pool.items), _WIDTH))
        for name, weight in self.weights.items():
            for row, value in enumerate(pool.column(name)):
                places = () if value is None else _hashed(name, str(value))
                for place in places:
                    vectors[row, place] += weight / len(places)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1.0)


@lru_cache(maxsize=200_000)
def _hashed(name: str, value: str) -> tuple[int, ...]:
    """Places of a value's words. CRC-32: the same in every process, unlike Python's own hash."""
    return tuple(zlib.crc32(f"{name}={w}".encode()) % _WIDTH for w in value.lower().split())
