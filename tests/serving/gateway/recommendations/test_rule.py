"""Each test that a rule can make, and what it does where something is missing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.filters.rule import Rule
from serving.gateway.recommendations.filters.seen import Seen
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources
from serving.gateway.user_features import Served

RESOURCES = cast(
    Resources,
    type("Any", (), {"item_feature": staticmethod(str), "user_feature": staticmethod(str)}),
)


def kept(values: list[Any], ask: Ask | None = None, **rule: Any) -> list[bool]:
    size = len(values)
    pool = Pool([f"i{n}" for n in range(size)], [0.0] * size, [()] * size, {"v:x": values})
    return Rule(RESOURCES, item="v:x", **rule).keep(pool, ask or Ask("u", [], 5))


@pytest.mark.parametrize(
    ("test", "wanted", "values", "expected"),
    [
        ("equals", "a", ["a", "b"], [True, False]),
        ("differs", "a", ["a", "b"], [False, True]),
        ("at_least", 2, [1, 2, 3], [False, True, True]),
        ("at_most", 2, [1, 2, 3], [True, True, False]),
        ("above", 2, [1, 2, 3], [False, False, True]),
        ("below", 2, [1, 2, 3], [True, False, False]),
        ("one_of", ["a", "b"], ["a", "c"], [True, False]),
        ("none_of", ["a", "b"], ["a", "c"], [False, True]),
        ("contains", "de", [["de", "fr"], ["fr"], []], [True, False, False]),
        ("lacks", "de", [["de", "fr"], ["fr"], []], [False, True, True]),
    ],
)
def test_tests_compare_the_items_value_with_the_wanted_one(
    test: str, wanted: Any, values: list[Any], expected: list[bool]
) -> None:
    assert kept(values, test=test, value=wanted) == expected


def test_items_of_which_nothing_is_known_are_kept_or_dropped_as_the_rule_says() -> None:
    assert kept([None, 0], test="at_least", value=1) == [True, False]
    assert kept([None, 1], test="at_least", value=1, missing="drop") == [False, True]


def test_the_wanted_value_may_be_the_users_or_the_moments() -> None:
    ask = Ask("u", [], 5, served=Served([], {"p:age": 20}, None), context={"age": 12})
    assert kept([16, 21], ask, test="at_most", user="p:age") == [True, False]
    assert kept([16, 21], ask, test="at_most", context="age") == [False, False]
    assert kept([16, 21], test="at_most", user="p:age") == [True, True], "nobody knows it"
    assert kept([16, 0], test="at_most", user="p:age", otherwise=0) == [False, True]
    beside = Ask("u", [], 5, served=Served([], {}, None, {"p:age": 20}))
    assert kept([16, 21], beside, test="at_most", user="p:age") == [True, False]


def test_seen_items_are_those_of_the_history_and_the_hidden_ones() -> None:
    pool = Pool(["a", "b", "c"], [3.0, 2.0, 1.0], [()] * 3, {})
    ask = Ask("u", ["a"], 5, hidden=frozenset({"c"}))
    assert Seen(RESOURCES, relax=False).keep(pool, ask) == [False, True, False]
