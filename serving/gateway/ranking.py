"""A ranked list of items: what the model, the cache and the fallback all give."""

from __future__ import annotations

from typing import NamedTuple


class Ranking(NamedTuple):
    """Items, best first, and their scores."""

    items: list[str]
    scores: list[float]

    def top(self, n: int) -> Ranking:
        return Ranking(self.items[:n], self.scores[:n])

    def without(self, seen: set[str]) -> Ranking:
        kept = [(i, s) for i, s in zip(self.items, self.scores, strict=True) if i not in seen]
        return Ranking([i for i, _ in kept], [s for _, s in kept])
