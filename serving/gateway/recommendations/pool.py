"""Candidates on their way through the stages: parallel columns, in the order of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.gateway.ranking import Ranking


class Pool(NamedTuple):
    """Items, best first.

    Args:
        sources: names of the sources that proposed each item, the one that counts most first.
        attributes: "view:feature" → one value an item, None where it has none.
    """

    items: list[str]
    scores: list[float]
    sources: list[tuple[str, ...]]
    attributes: dict[str, list[Any]]

    @classmethod
    def empty(cls) -> Pool:
        return cls([], [], [], {})

    def take(self, places: Sequence[int]) -> Pool:
        """These items in this order."""
        return Pool(
            [self.items[p] for p in places],
            [self.scores[p] for p in places],
            [self.sources[p] for p in places],
            {name: [column[p] for p in places] for name, column in self.attributes.items()},
        )

    def having(self, mask: Sequence[bool]) -> Pool:
        return self.take([p for p, kept in enumerate(mask) if kept])

    def column(self, name: str) -> list[Any]:
        """An attribute of each item; of None where it was not read."""
        return self.attributes.get(name) or [None] * len(self.items)

    def scored(self, scores: Sequence[float]) -> Pool:
        """With other scores, in their order; equal ones keep theirs."""
        order = sorted(range(len(scores)), key=lambda p: -scores[p])
        return self._replace(scores=list(scores)).take(order)

    def joined(self, other: Pool) -> Pool:
        """These, then another pool's; attributes that only one has are None in the other."""
        names = [*self.attributes, *(n for n in other.attributes if n not in self.attributes)]
        return Pool(
            [*self.items, *other.items],
            [*self.scores, *other.scores],
            [*self.sources, *other.sources],
            {name: [*self.column(name), *other.column(name)] for name in names},
        )


def blend(proposed: Mapping[str, Ranking], weights: Mapping[str, float], most: int) -> Pool:
    """One pool of several sources' lists: each counts by its rank, scaled to (0, 1], times its
    weight; scores of different sources have no common measure, ranks do.

    Equal sums keep the order of the sources, then of their lists.

    Args:
        weights: of each source.
        most: items kept.
    """
    parts: dict[str, list[tuple[float, str]]] = {}  # item → what each source adds
    for source, ranking in proposed.items():
        weight, size = weights[source], len(ranking.items)
        for rank, item in enumerate(ranking.items):
            parts.setdefault(item, []).append((weight * (1 - rank / size), source))
    sums = {item: sum(part for part, _ in added) for item, added in parts.items()}
    best = sorted(sums, key=lambda item: -sums[item])[:most]
    named = [tuple(s for _, s in sorted(parts[i], key=lambda added: -added[0])) for i in best]
    return Pool(best, [sums[i] for i in best], named, {})
