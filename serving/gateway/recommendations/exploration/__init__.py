"""Which of the ranked candidates are shown: mostly the best, sometimes others, to learn of them.

A part has `choose(pool, n, random)` and `policy`, the name that the prediction log carries.
Propensities are those of one place after the other: how likely this item was for this place, given
those before it. Their product is that of the list. Off-policy estimates need nothing else.
"""

from __future__ import annotations

import random
from typing import NamedTuple, Protocol

from serving.gateway.recommendations.pool import Pool


class Choice(NamedTuple):
    """Places in the pool, in the order shown, and how likely each was."""

    places: list[int]
    propensities: list[float]


class Exploration(Protocol):
    """Chooses what is shown."""

    policy: str
    attributes: tuple[str, ...]

    def choose(self, pool: Pool, n: int, source: random.Random) -> Choice: ...
