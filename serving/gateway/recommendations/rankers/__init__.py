"""In which order candidates stand.

A ranker has `rank(pool, ask)`, scores in the pool's order, and names the features that it reads, as
filters do. `model` is the name and version of the model behind it, or None.
"""

from __future__ import annotations

from typing import Protocol

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.rankers.ranked import Ranked


class Ranker(Protocol):
    """Scores all candidates of one question."""

    model: list[str] | None
    attributes: tuple[str, ...]
    user_features: tuple[str, ...]

    async def rank(self, pool: Pool, ask: Ask) -> Ranked: ...
