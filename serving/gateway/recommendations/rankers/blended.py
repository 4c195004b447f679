"""No second model: candidates stand as their sources rank them."""

from __future__ import annotations

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.rankers.ranked import Ranked
from serving.gateway.recommendations.resources import Resources


class Blended:
    """Leaves the blend of the sources' ranks as it is."""

    model: list[str] | None = None
    attributes: tuple[str, ...] = ()
    user_features: tuple[str, ...] = ()

    def __init__(self, resources: Resources) -> None:
        """Needs nothing."""

    async def rank(self, pool: Pool, ask: Ask) -> Ranked:
        return Ranked(pool.scores)
