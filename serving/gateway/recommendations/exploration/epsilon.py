"""Epsilon-greedy: at each place, with a small probability, any of the candidates that are left."""

from __future__ import annotations

import random

from serving.gateway.recommendations.exploration import Choice
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources


class Epsilon:
    """Shows the best that is left, or with probability `epsilon` one of all that are left.

    With r items left, the best has propensity 1 − ε + ε / r, each other one ε / r.

    Args:
        among: best candidates that exploration looks at.
        keep: places at the top that are never explored.
    """

    attributes: tuple[str, ...] = ()

    def __init__(self, resources: Resources, epsilon: float, among: int, keep: int) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is {epsilon}; wanted: a number from 0 to 1")
        self.epsilon = epsilon
        self.among = among
        self.keep = keep
        self.policy = f"epsilon-{epsilon:g}"

    def choose(self, pool: Pool, n: int, source: random.Random) -> Choice:
        left = list(range(min(max(self.among, n), len(pool.items))))
        places: list[int] = []
        propensities: list[float] = []
        while left and len(places) < n:
            epsilon = 0.0 if len(places) < self.keep else self.epsilon
            explores = epsilon > 0 and source.random() < epsilon
            at = source.randrange(len(left)) if explores else 0
            chance = epsilon / len(left)
            places.append(left.pop(at))
            propensities.append(chance if at else 1 - epsilon + chance)
        return Choice(places, propensities)
