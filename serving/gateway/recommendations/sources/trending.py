"""Candidates that many look at now."""

from __future__ import annotations

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources


class TrendingSource:
    """The first of what is trending.

    Args:
        k: candidates.
    """

    kind = "trending"

    def __init__(self, resources: Resources, k: int) -> None:
        self.trending = resources.trending
        self.k = k

    async def propose(self, ask: Ask) -> Ranking:
        found = self.trending.ranked().top(self.k)
        if not found.items:
            raise NothingError("nothing_trending")
        return found
