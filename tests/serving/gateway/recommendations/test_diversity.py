"""Lists whose neighbours differ."""

from __future__ import annotations

from typing import cast

from serving.gateway.recommendations.diversity.caps import CategoryCaps
from serving.gateway.recommendations.diversity.mmr import MMR
from serving.gateway.recommendations.diversity.unchanged import Unchanged
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

RESOURCES = cast(Resources, type("Any", (), {"item_feature": staticmethod(lambda name: name)}))


def pool(*categories: str | None) -> Pool:
    size = len(categories)
    return Pool(
        [f"i{n}" for n in range(size)],
        [float(size - n) for n in range(size)],
        [("m",)] * size,
        {"v:category": list(categories)},
    )


def test_caps_put_off_what_a_window_is_full_of() -> None:
    caps = CategoryCaps(RESOURCES, by="v:category", most=2, window=3)
    order = caps.arrange(pool("a", "a", "a", "a", "b", "c"), 6)
    assert order == [0, 1, 4, 2, 3, 5]
    categories = ["aaaabc"[p] for p in order]
    windows = [categories[n : n + 3] for n in range(4)]
    assert all(window.count("a") <= 2 for window in windows)


def test_caps_give_way_where_there_is_nothing_else_and_leave_the_unknown_alone() -> None:
    caps = CategoryCaps(RESOURCES, by="v:category", most=1, window=3)
    assert caps.arrange(pool("a", "a", "a"), 3) == [0, 1, 2]
    assert caps.arrange(pool(None, None, "a", "a", None), 4) == [0, 1, 2, 4, 3]
    assert caps.arrange(Pool.empty(), 3) == []


def test_mmr_takes_what_is_unlike_what_it_has() -> None:
    given = pool("red lamp", "red lamp", "red lamp", "blue chair")
    half = MMR(RESOURCES, relevance=0.5, weights={"v:category": 1.0})
    assert half.arrange(given, 2)[:2] == [0, 3]
    assert sorted(half.arrange(given, 2)) == [0, 1, 2, 3], "nothing is lost"
    only = MMR(RESOURCES, relevance=1.0, weights={"v:category": 1.0})
    assert only.arrange(given, 4) == [0, 1, 2, 3]


def test_mmr_without_content_or_differences_keeps_the_order() -> None:
    half = MMR(RESOURCES, relevance=0.5, weights={"v:category": 1.0})
    assert half.arrange(pool(None, None, None), 3) == [0, 1, 2]
    flat = pool("a", "a")._replace(scores=[1.0, 1.0])
    assert half.arrange(flat, 2) == [0, 1]
    assert half.arrange(pool("a"), 5) == [0]


def test_unchanged_is_unchanged() -> None:
    assert Unchanged(RESOURCES).arrange(pool("a", "a", "b"), 1) == [0, 1, 2]
