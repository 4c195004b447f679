"""Candidates that many touched in training, for everybody the same."""

from __future__ import annotations

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources


class Popular:
    """The artifact's popular items.

    Args:
        k: candidates; those that the user has seen do not count.
    """

    kind = "popular"

    def __init__(self, resources: Resources, k: int) -> None:
        self.popular = resources.popular
        self.k = k

    async def propose(self, ask: Ask) -> Ranking:
        seen = ask.hidden.union(ask.history)
        places = []
        for place, item in enumerate(self.popular.items):
            if item not in seen:
                places.append(place)
                if len(places) == self.k:
                    break
        popular = self.popular
        return Ranking([popular.items[p] for p in places], [popular.scores[p] for p in places])
