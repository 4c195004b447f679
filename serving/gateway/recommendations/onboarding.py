"""What to show somebody of whom nothing is known, so that a few picks say much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from serving.features.client import FeatureClient
from serving.features.errors import FeaturesUnavailableError
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.neighbours import Neighbours
from serving.gateway.recommendations.pool import Pool


class Onboarding:
    """Well-known items that say different things.

    Each next item is the most popular one of a category that was offered least so far, and no
    neighbour of one offered before, as long as there are such: few items show the whole catalog.

    Args:
        by: the item's feature that says its category; None: neighbours alone are looked at.
        among: most popular items that are looked at.
    """

    def __init__(
        self,
        features: FeatureClient,
        popular: Ranking,
        neighbours: Neighbours | None,
        by: str | None,
        among: int,
    ) -> None:
        self.features = features
        self.popular = popular
        self.neighbours = neighbours
        self.by = by
        self.among = among

    async def offer(self, pool: Pool, n: int) -> list[str]:
        """The best `n` of a pool that is ordered by popularity; fewer if it has fewer."""
        groups = dict(zip(pool.items, await self._groups(pool.items), strict=True))
        left = dict.fromkeys(pool.items)
        near: set[str] = set()
        chosen: list[str] = []
        offered: Counter[object] = Counter()  # how often each category was
        while left and len(chosen) < n:
            different = [item for item in left if item not in near] or list(left)
            # The first of the least: the most popular item of the categories that were least.
            item = min(different, key=lambda i: offered[groups[i]])
            del left[item]
            chosen.append(item)
            offered[groups[item]] += 1
            near |= self._near(item, left)
        return chosen

    def candidates(self) -> Pool:
        """What is offered from, before filters."""
        some = self.popular.top(self.among)
        return Pool(some.items, some.scores, [("popular",)] * len(some.items), {})

    def _near(self, item: str, others: Iterable[str]) -> set[str]:
        """Neighbours of an item, and those whose neighbour it is."""
        if self.neighbours is None:
            return set()
        theirs = {o for o in others if any(n == item for n, _ in self.neighbours.of_item(o))}
        return theirs.union(other for other, _ in self.neighbours.of_item(item))

    async def _groups(self, items: Sequence[str]) -> list[object]:
        if self.by is None or not items:
            return [None] * len(items)
        try:
            read = await self.features.read([self.by], {"item_id": items})
        except FeaturesUnavailableError:
            return [None] * len(items)
        return list(read.values[0])
