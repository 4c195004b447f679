"""Candidates of several sources as one list."""

from __future__ import annotations

import pytest

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.pool import Pool, blend


def test_each_source_counts_by_its_rank_and_weight() -> None:
    pool = blend(
        {"model": Ranking(["a", "b"], [900.0, 0.1]), "popular": Ranking(["b", "c"], [5.0, 4.0])},
        {"model": 1.0, "popular": 0.8},
        10,
    )
    assert pool.items == ["b", "a", "c"]
    assert pool.scores == pytest.approx([0.5 + 0.8, 1.0, 0.4])
    assert pool.sources == [("popular", "model"), ("model",), ("popular",)], "the weightiest first"


def test_equal_sums_keep_the_order_of_sources_and_no_more_than_asked_are_kept() -> None:
    pool = blend(
        {"one": Ranking(["a", "b"], [1, 1]), "two": Ranking(["c", "d"], [1, 1])},
        {"one": 1.0, "two": 1.0},
        3,
    )
    assert pool.items == ["a", "c", "b"]
    assert blend({}, {}, 3) == Pool.empty()


def test_pools_are_taken_scored_and_joined_with_their_attributes() -> None:
    pool = Pool(["a", "b"], [2.0, 1.0], [("x",), ("y",)], {"v:f": [1, 2]})
    assert pool.take([1]) == Pool(["b"], [1.0], [("y",)], {"v:f": [2]})
    assert pool.having([False, True]).items == ["b"]
    assert pool.scored([1.0, 3.0]) == Pool(
        ["b", "a"], [3.0, 1.0], [("y",), ("x",)], {"v:f": [2, 1]}
    )
    joined = pool.joined(Pool(["c"], [0.0], [("z",)], {"v:g": ["n"]}))
    assert joined.attributes == {"v:f": [1, 2, None], "v:g": [None, None, "n"]}
    assert Pool.empty().joined(pool) == pool
