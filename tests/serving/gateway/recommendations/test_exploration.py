"""What exploration shows, and that its propensities are the true ones."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest

from serving.gateway.recommendations.exploration import Exploration
from serving.gateway.recommendations.exploration.epsilon import Epsilon
from serving.gateway.recommendations.exploration.greedy import Greedy
from serving.gateway.recommendations.exploration.thompson import Thompson, chance_of_highest
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

RESOURCES = cast(Resources, type("Any", (), {"item_feature": staticmethod(lambda name: name)}))
POOL = Pool(
    ["a", "b", "c", "d"], [1.0, 0.8, 0.5, 0.0], [("m",)] * 4, {"v:shown": [100, 8, None, 0]}
)


def frequencies(part: Exploration, n: int, rounds: int) -> tuple[Counter[Any], dict[Any, float]]:
    """How often each list was shown, and how likely it says that was."""
    source = random.Random(0)
    seen: Counter[Any] = Counter()
    told: dict[Any, float] = {}
    for _ in range(rounds):
        choice = part.choose(POOL, n, source)
        seen[tuple(choice.places)] += 1
        told[tuple(choice.places)] = float(np.prod(choice.propensities))
    return seen, told


def test_greedy_shows_the_best_for_sure() -> None:
    assert Greedy(RESOURCES).choose(POOL, 2, random.Random(0)) == ([0, 1], [1.0, 1.0])
    assert Greedy(RESOURCES).choose(POOL, 9, random.Random(0)).places == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "part",
    [
        Epsilon(RESOURCES, epsilon=0.4, among=4, keep=0),
        Thompson(RESOURCES, shown="v:shown", width=0.5, among=4),
    ],
)
def test_propensities_are_how_often_lists_are_really_shown(part: Exploration) -> None:
    rounds = 6000
    seen, told = frequencies(part, 2, rounds)
    assert sum(told.values()) == pytest.approx(1.0, abs=0.02), "every list was seen"
    for places, count in seen.items():
        spread = 4 * np.sqrt(told[places] * (1 - told[places]) / rounds) + 0.002
        assert count / rounds == pytest.approx(told[places], abs=spread), places


def test_an_estimate_by_inverse_propensities_is_the_mean_of_another_policy() -> None:
    """Clicks on `b` at the first place; what would always showing `b` there have earned?"""
    source = random.Random(1)
    part = Epsilon(RESOURCES, epsilon=0.3, among=4, keep=0)
    earned = []
    for _ in range(4000):
        choice = part.choose(POOL, 1, source)
        clicked = choice.places[0] == 1 and source.random() < 0.6
        earned.append(clicked / choice.propensities[0])
    assert np.mean(earned) == pytest.approx(0.6, abs=0.12)


def test_epsilon_leaves_the_kept_places_and_what_is_beyond_its_reach() -> None:
    part = Epsilon(RESOURCES, epsilon=1.0, among=3, keep=1)
    source = random.Random(0)
    choices = [part.choose(POOL, 2, source) for _ in range(50)]
    assert {c.places[0] for c in choices} == {0}
    assert {c.places[1] for c in choices} == {1, 2}
    assert {tuple(c.propensities) for c in choices} == {(1.0, 0.5)}
    with pytest.raises(ValueError, match=r"epsilon is 1.5; wanted: a number from 0 to 1"):
        Epsilon(RESOURCES, epsilon=1.5, among=3, keep=0)


def test_thompson_explores_what_was_seldom_shown() -> None:
    seen, _ = frequencies(Thompson(RESOURCES, shown="v:shown", width=0.5, among=4), 1, 1000)
    assert seen[(2,)] > seen[(1,)], "a worse score that nobody has seen yet"
    flat = Pool(["a", "b"], [1.0, 1.0], [("m",)] * 2, {})
    choice = Thompson(RESOURCES, shown="v:shown", width=0.5, among=2).choose(
        flat, 2, random.Random(0)
    )
    assert choice.propensities == pytest.approx([0.5, 1.0], abs=1e-6)
    nothing = Thompson(RESOURCES, shown="v:shown", width=0.5, among=2)
    assert nothing.choose(Pool.empty(), 2, random.Random(0)) == ([], [])


def test_chances_of_the_highest_sum_to_one_and_never_vanish() -> None:
    means, widths = np.array([0.0, 0.3, 1.0, 5.0]), np.array([1.0, 0.2, 0.01, 0.5])
    chances = [chance_of_highest(means, widths, n) for n in range(4)]
    assert sum(chances) == pytest.approx(1.0, abs=1e-3)
    assert min(chances) > 0
