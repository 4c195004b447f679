"""No trends: popular items stand in for them."""

from __future__ import annotations

from serving.gateway.ranking import Ranking


class NoTrends:
    """Ranks nothing."""

    def ranked(self) -> Ranking:
        return Ranking([], [])

    async def open(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""
