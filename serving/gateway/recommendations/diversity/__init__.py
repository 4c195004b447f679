"""Lists that are not ten times the same.

A part has `arrange(pool, n)`, the places of the pool's items in their new order, and `attributes`,
the item features it looks at.
"""

from __future__ import annotations

from typing import Protocol

from serving.gateway.recommendations.pool import Pool


class Diversity(Protocol):
    """Orders candidates so that what stands together differs."""

    attributes: tuple[str, ...]

    def arrange(self, pool: Pool, n: int) -> list[int]: ...
