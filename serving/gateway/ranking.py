"""A ranked list of items: what models and every other source of candidates give."""

from __future__ import annotations

from typing import NamedTuple


class Ranking(NamedTuple):
    """Items, best first, and their scores."""

    items: list[str]
    scores: list[float]

    def top(self, n: int) -> Ranking:
        return Ranking(self.items[:n], self.scores[:n])
