"""Classics on data small enough to check by hand or against the library's own answer."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from torch import Tensor

from models.export import export_onnx, ranking_parity
from models.recommender.attributes import AttributeTable
from models.recommender.classics.als import ImplicitALS
from models.recommender.classics.bags import recency, touched
from models.recommender.classics.content import Content, TfidfText
from models.recommender.classics.hybrid import Hybrid
from models.recommender.classics.matrix import user_items
from models.recommender.classics.model import Classic
from models.recommender.classics.neighbours import ItemNeighbours, UserNeighbours
from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.export import TopK
from models.recommender.floors.ease import EASE
from models.recommender.floors.popularity import Popularity
from models.recommender.interactions import DataError, Interactions
from models.recommender.splits import LeaveOneOut
from tests.models.recommender.test_histories import interactions

SMALL = [[1, 2, 3], [1, 2, 3, 4], [5, 6, 7], [5, 6, 8], [1, 2, 9]]


def everything(data: Interactions) -> np.ndarray:
    return np.ones(len(data), dtype=bool)


def coded(data: Interactions, *items: int) -> Tensor:
    names = data.item_ids.to_list()
    return torch.tensor([[names.index(f"i{i}") + 1 for i in items]])


def ranked(data: Interactions, scores: Tensor, n: int) -> list[str]:
    names = data.item_ids.to_list()
    return [names[i] for i in scores[0, 1:].topk(n).indices.tolist()]


def als(factors: int = 4, alpha: float = 5.0) -> AlternatingLeastSquares:
    return AlternatingLeastSquares(
        factors=factors, alpha=alpha, regularization=0.1, iterations=8, random_state=3,
        num_threads=1,
    )  # fmt: skip


class Catalog:
    """Text and categories of items by name, as an attribute reader gives them."""

    def __init__(self, known: dict[str, tuple[str, list[str]]]) -> None:
        self.known = known

    def read(self, ids: pl.Series) -> pl.DataFrame:
        rows = [self.known.get(i, ("", [])) for i in ids]
        return pl.DataFrame(
            {"text": [r[0] for r in rows], "categories": [r[1] for r in rows]},
            schema={"text": pl.String, "categories": pl.List(pl.String)},
        )


SHELF = Catalog(
    {f"i{n}": (f"wood chair model {n}", ["kind=chair"]) for n in range(1, 5)}
    | {f"i{n}": (f"iron lamp model {n}", ["kind=lamp"]) for n in range(5, 9)}
)


def content(items: Catalog = SHELF, **more: float) -> Content:
    return Content(items, TfidfText(least=1), **more)  # type: ignore[arg-type]


def test_history_weights_fall_towards_its_start_and_skip_padding() -> None:
    history = torch.tensor([[0, 3, 4]])
    assert recency(history, 0.5).tolist() == [[0.0, 0.5, 1.0]]
    assert touched(torch.tensor([[0, 2, 2]]), 4).tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_the_matrix_counts_a_pair_once_and_training_rows_only() -> None:
    data = interactions([[1, 1, 2], [2, 3]])
    train = np.array([1, 1, 1, 0, 1], dtype=bool)
    assert user_items(data, train).toarray().tolist() == [[1, 1, 0], [0, 0, 1]]


def test_popularity_forgets_by_its_half_life() -> None:
    day = 86_400_000_000
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b", "c", "d"],
            "item_id": ["old", "old", "old", "new"],
            "timestamp": pl.Series([0, 0, 0, 20 * day]).cast(pl.Datetime("us", "UTC")),
        }
    )
    data = Interactions.from_frame(frame)
    model = Popularity(half_life_days=10)
    model.fit(data, everything(data))
    assert model.score(torch.zeros(1, 1, dtype=torch.long))[0].tolist() == [0.0, 0.75, 1.0]
    with pytest.raises(DataError, match="half_life_days must be above 0"):
        Popularity(half_life_days=0)


def test_item_neighbours_equal_a_dense_cosine() -> None:
    data = interactions(SMALL)
    model = ItemNeighbours(CosineRecommender(K=20, num_threads=1), decay=0.5)
    model.fit(data, everything(data))
    dense = user_items(data, everything(data)).toarray()
    unit = dense / np.linalg.norm(dense, axis=0)
    likeness = unit.T @ unit
    np.fill_diagonal(likeness, 0)
    history = coded(data, 1, 5)
    first, second = (history[0] - 1).tolist()
    expected = 0.5 * likeness[first] + likeness[second]
    np.testing.assert_allclose(model.score(history)[0, 1:], expected, atol=1e-6)


def test_user_neighbours_ask_the_like_minded() -> None:
    data = interactions(SMALL)
    model = UserNeighbours(k=2, shrinkage=0.0)
    model.fit(data, everything(data))
    assert ranked(data, model.score(coded(data, 5, 6, 7)), 4)[3] == "i8"
    votes = model.score(coded(data, 1, 2))[0]
    assert votes[coded(data, 5)[0]] == 0, "users without anything in common have no vote"


def test_user_neighbours_refuse_what_memory_cannot_hold() -> None:
    data = interactions(SMALL)
    with pytest.raises(DataError, match=r"max_cells=20 \(lower model.users to 2\)"):
        UserNeighbours(max_cells=20).fit(data, everything(data))
    few = UserNeighbours(users=2, max_cells=20)
    few.fit(data, everything(data))
    assert few.taste.shape[0] == 2
    assert few.taste.sum() == 7, "the two most active users"


def test_als_solves_for_a_history_as_the_library_does() -> None:
    data = interactions(SMALL)
    matrix = user_items(data, everything(data))
    bare = als()
    bare.fit(matrix, show_progress=False)
    model = ImplicitALS(als(), steps=12)
    model.fit(data, everything(data))
    users = [0, 3]
    vectors = bare.recalculate_user(users, matrix[users])
    history = torch.cat([coded(data, 1, 2, 3), coded(data, 5, 6, 8)])
    np.testing.assert_allclose(
        model.score(history)[:, 1:], vectors @ bare.item_factors.T, atol=1e-4
    )
    twice = torch.cat([history, history[:, :1]], dim=1)
    torch.testing.assert_close(model.score(twice), model.score(history))


def test_content_finds_an_item_that_nobody_touched() -> None:
    data = interactions([[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    model = content()
    model.fit(data, np.zeros(len(data), dtype=bool))
    assert set(ranked(data, model.score(coded(data, 1, 2)), 4)) == {"i1", "i2", "i3", "i4"}
    assert model.score(coded(data, 1))[0, coded(data, 9)[0, 0]] == 0, "nothing is known of i9"
    assert not model.score(coded(data, 9)).isnan().any()
    with pytest.raises(DataError, match="no item has a text or a category"):
        content(Catalog({})).fit(data, everything(data))


def test_content_reduces_wide_vectors() -> None:
    data = interactions([[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    model = content(dims=2)
    model.fit(data, everything(data))
    assert model.vectors.shape == (10, 2)
    assert set(ranked(data, model.score(coded(data, 5, 6)), 4)) == {"i5", "i6", "i7", "i8"}


def rings(users: int = 60, size: int = 20) -> Interactions:
    """Users walk around a ring of items: the next one is easily told."""
    rng = np.random.default_rng(0)
    walks = []
    for _ in range(users):
        start = rng.integers(size)
        walks.append([int((start + n) % size) for n in range(rng.integers(4, 12))])
    return interactions(walks)


def test_a_hybrid_is_at_least_as_good_as_its_best_part() -> None:
    data = rings()
    split = LeaveOneOut().split(data)
    validation = RankingTask.build(data, split.train, split.validation)
    test = RankingTask.build(data, split.train | split.validation, split.test)
    parts: dict[str, Classic | None] = {
        "popularity": Popularity(),
        "item_knn": ItemNeighbours(CosineRecommender(K=20, num_threads=1), decay=0.3),
        "ease": None,
    }
    model = Hybrid(parts, seed=1)
    model.fit(data, split.train)
    model.tune(validation, max_length=20)

    def ndcg(part: Classic) -> float:
        with torch.inference_mode():
            return evaluate(part.score, test, max_length=20)["ndcg@10"]

    alone = {name: ndcg(part) for name, part in parts.items() if part is not None}
    assert alone["item_knn"] > alone["popularity"] + 0.2
    assert ndcg(model) >= alone["item_knn"] - 0.01
    weights = dict(zip(model.parts, model.weights.tolist(), strict=True))
    assert weights["item_knn"] > 3 * abs(weights["popularity"])
    assert "item_knn (" in model.what


def test_a_hybrid_of_one_is_none() -> None:
    with pytest.raises(DataError, match="at least 2 parts"):
        Hybrid({"popularity": Popularity(), "ease": None})


@pytest.mark.parametrize(
    "model",
    [
        Popularity(half_life_days=1),
        EASE(regularization=2.0),
        ItemNeighbours(CosineRecommender(K=5, num_threads=1), decay=0.8),
        UserNeighbours(k=3),
        ImplicitALS(als(), steps=6),
        content(decay=0.9),
        Hybrid({"ease": EASE(1.0), "als": ImplicitALS(als(), steps=3), "popularity": Popularity()}),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_classic_is_one_graph(model: Classic, tmp_path: Path) -> None:
    """Exported as training exports it, and asked with histories of other widths and repeats."""
    data = interactions([*SMALL, [4, 8, 1], [2, 7, 7, 5]])
    model = copy.deepcopy(model)
    model.fit(data, everything(data))
    graph = TopK(model.eval(), 5)
    example = {"history": torch.tensor([[0, 1, 1], [1, 1, 1]])}
    example["seen"] = example["history"]
    dynamic = {"history": {0: "batch", 1: "time"}, "seen": {0: "batch", 1: "seen"}}
    file = tmp_path / "model.onnx"
    export_onnx(graph, example, dynamic, ["items", "scores"], file)
    generator = torch.Generator().manual_seed(5)
    batches = []
    for batch, width in ((1, 1), (3, 4), (5, 9)):
        history = torch.randint(1, data.n_items + 1, (batch, width), generator=generator)
        history[0, : width // 2] = 0
        batches.append({"history": history, "seen": history})
    assert ranking_parity(file, graph, batches, tolerance=1e-4) <= 1e-4


ITEMS = "item_id:token\ttitle:token_seq\tgenres:token_seq\n"


def test_attributes_follow_the_vocabulary_and_name_what_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "shop.item"
    file.write_text(ITEMS + "7\tIt's \"new\"\tDrama Children's\n-3\tOld\t\n")
    beside = {"rejects": tmp_path / "rejects.csv", "missing": tmp_path / "missing.csv"}
    reader = AttributeTable(
        tmp_path, **beside, names=["*.item"], texts=["title"], categories=["genres"], separator=" "
    )
    known = reader.read(pl.Series(["-3", "7", "unheard"]))
    assert known["text"].to_list() == ["Old", 'It\'s "new"', ""]
    assert known["categories"].to_list() == [[], ["genres=Drama", "genres=Children's"], []]
    assert "lacks 1 of 3 ids (such as unheard)" in caplog.text
    with pytest.raises(DataError, match=r"lacks 2 of 3 ids .* more than max_missing_share=50.0%"):
        reader.read(pl.Series(["7", "x", "y"]))
    with pytest.raises(DataError, match=r"no column 'name'; it has \['title'"):
        AttributeTable(tmp_path, **beside, names=["*.item"], texts=["name"]).read(pl.Series(["7"]))


def test_attributes_from_a_table_with_numbers_and_repeated_rows(tmp_path: Path) -> None:
    rows = {"sku": [2**62, 5, 5], "name": ["big", None, "again"], "year": [1999, 2000, 2001]}
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    reader = AttributeTable(
        tmp_path, tmp_path / "rejects.csv", tmp_path / "missing.csv", id="sku", texts=["name"],
        categories=["year"], buckets={"year": 10}, max_reject_share=0.5,
    )  # fmt: skip
    known = reader.read(pl.Series([str(2**62), "5"]))
    assert known["text"].to_list() == ["big", ""]
    assert known["categories"].to_list() == [
        ["year=1999", "year from 1990.0"], ["year=2000", "year from 2000.0"],
    ]  # fmt: skip
    assert pl.read_csv(tmp_path / "rejects.csv")["reason"].to_list() == ["id occurs before"]
