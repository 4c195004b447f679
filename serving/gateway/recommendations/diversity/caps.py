"""At most so many of one category among so many in a row."""

from __future__ import annotations

from collections import Counter, deque

from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources


class CategoryCaps:
    """Puts off items of a category that the last places are full of.

    Whatever prefix of the list is shown, any `window` places in a row hold at most `most` of one
    category, as long as there are others left.

    Args:
        by: the item's feature that says its category; items without it are never put off.
    """

    def __init__(self, resources: Resources, by: str, most: int, window: int) -> None:
        self.by = resources.item_feature(by)
        self.most = most
        self.window = window
        self.attributes = (self.by,)

    def arrange(self, pool: Pool, n: int) -> list[int]:
        groups = pool.column(self.by)
        left = list(range(len(groups)))
        recent: deque[object] = deque()
        counts: Counter[object] = Counter()
        order: list[int] = []
        while left and len(order) < n:
            if len(recent) == self.window:
                counts[recent.popleft()] -= 1
            place = next(
                (p for p in left if groups[p] is None or counts[groups[p]] < self.most), left[0]
            )
            left.remove(place)
            order.append(place)
            recent.append(groups[place])
            counts[groups[place]] += 1
        return [*order, *left]
