"""No exploration: the best are shown, and surely so."""

from __future__ import annotations

import random

from serving.gateway.recommendations.exploration import Choice
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources


class Greedy:
    """The first n."""

    policy = "greedy"
    attributes: tuple[str, ...] = ()

    def __init__(self, resources: Resources) -> None:
        """Needs nothing."""

    def choose(self, pool: Pool, n: int, source: random.Random) -> Choice:
        size = min(n, len(pool.items))
        return Choice(list(range(size)), [1.0] * size)
