"""No diversity but the ranking's own."""

from __future__ import annotations

from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources


class Unchanged:
    """Leaves the order as it is."""

    attributes: tuple[str, ...] = ()

    def __init__(self, resources: Resources) -> None:
        """Needs nothing."""

    def arrange(self, pool: Pool, n: int) -> list[int]:
        return list(range(len(pool.items)))
