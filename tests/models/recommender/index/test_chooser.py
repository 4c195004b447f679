"""The chooser measures before it chooses."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from models.recommender.index.chooser import IndexChooser, recall
from models.recommender.index.recipes import HNSW, IVF, Exact


class Forgetful:
    """Fast and wrong: it knows the first tenth of the vectors only."""

    name = "forgetful"
    efforts = (1,)

    def build(self, vectors: np.ndarray) -> Any:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors[: len(vectors) // 10])
        return index

    def set_effort(self, index: Any, effort: int) -> None:
        pass


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 24))
    rows = centres[rng.integers(40, size=4000)] + 0.3 * rng.normal(size=(4000, 24))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


@pytest.mark.parametrize("recipe", [HNSW(efforts=(64, 256)), IVF(efforts=(1, 8, 64))])
def test_what_is_chosen_finds_enough(vectors: np.ndarray, recipe: HNSW | IVF) -> None:
    queries = vectors[::40]
    choice = IndexChooser([recipe], k=20, min_recall=0.99, seconds=0.01).choose(vectors, queries)
    found = choice.index.search(queries, 20)[1]
    assert overlap(found, truth(vectors, queries, 20)) >= 0.99
    assert choice.chosen.recall >= 0.99
    tried = [row for row in choice.measured if row.name == recipe.name]
    assert [row.effort for row in tried] == list(recipe.efforts[: len(tried)])
    assert all(row.recall < 0.99 for row in tried[:-1])  # no more effort than is needed
    assert tried[-1].recall >= 0.99


def test_what_finds_too_little_is_never_chosen(vectors: np.ndarray) -> None:
    choice = IndexChooser([Forgetful()], k=20, seconds=0.01).choose(vectors, vectors[:50])
    assert choice.chosen.name == "exact"
    row = next(r for r in choice.measured if r.name == "forgetful")
    assert row.recall < 0.9
    np.testing.assert_array_equal(
        choice.index.search(vectors[:50], 20)[1], truth(vectors, vectors[:50], 20)
    )


def test_speed_decides_among_those_that_find_enough(
    vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"IndexFlatIP": 100.0, "IndexHNSWFlat": 300.0, "IndexIVFFlat": 200.0}

    def known(self: IndexChooser, index: Any, queries: np.ndarray, k: int) -> float:
        return speeds[type(index).__name__]

    monkeypatch.setattr(IndexChooser, "speed", known)
    recipes = [HNSW(efforts=(512,)), IVF(efforts=(256,))]
    chooser = IndexChooser(recipes, k=5, min_recall=0.95)
    assert chooser.choose(vectors, vectors[:50]).chosen.name == "hnsw"
    speeds["IndexFlatIP"] = 1000.0
    assert chooser.choose(vectors, vectors[:50]).chosen.name == "exact"


class Endless:
    """Is never built; it looks at faiss's clock as faiss's own loops do."""

    name = "endless"
    efforts = (1,)

    def build(self, vectors: np.ndarray) -> Any:
        index = faiss.IndexHNSWFlat(vectors.shape[1], 64, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 500
        while True:
            index.add(vectors)

    def set_effort(self, index: Any, effort: int) -> None:
        raise AssertionError("an index that was not built is not asked")


def test_what_is_not_built_in_time_is_left_out_and_named(
    vectors: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    recipes = [Endless(), IVF(efforts=(64,))]
    chooser = IndexChooser(recipes, k=20, min_recall=0.9, seconds=0.01, build_s=0.5)
    choice = chooser.choose(vectors, vectors[:50])
    assert list(choice.unfinished) == ["endless"]
    assert 0.5 <= choice.unfinished["endless"] < 10
    assert [row.name for row in choice.measured] == ["exact", "ivf"]
    assert "index endless is not built within 0.5 s and left out" in caplog.text


class Broken(Endless):
    """Cannot be built at all."""

    def build(self, vectors: np.ndarray) -> Any:
        return faiss.IndexFlatIP(vectors.shape[1]).reconstruct(7)


def test_a_building_that_fails_is_not_taken_for_a_slow_one(vectors: np.ndarray) -> None:
    with pytest.raises(RuntimeError):
        IndexChooser([Broken()], seconds=0.01, build_s=60).choose(vectors, vectors[:5])
    with pytest.raises(ValueError, match="build_s must be above 0 seconds, or null, not 0"):
        IndexChooser([], build_s=0)


def test_a_catalog_smaller_than_the_list(vectors: np.ndarray) -> None:
    choice = IndexChooser([HNSW(), IVF()], k=100, seconds=0.01).choose(vectors[:7], vectors[:3])
    assert sorted(choice.index.search(vectors[:1], 7)[1][0].tolist()) == list(range(7))


def test_ties_are_no_misses() -> None:
    assert recall(np.array([[1.0, 0.5], [1.0, -np.inf]]), np.array([[0.5], [0.5]])) == 0.75


def test_nothing_to_choose_by_is_an_error(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="4000 vectors and 0 queries"):
        IndexChooser([Exact()]).choose(vectors, vectors[:0])
    with pytest.raises(ValueError, match=r"0 < min_recall ≤ 1, not 1\.5"):
        IndexChooser([], min_recall=1.5)
