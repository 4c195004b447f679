"""Floors on data small enough to compute by hand, and on the published data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.floors.ease import EASE
from models.recommender.floors.markov import Markov
from models.recommender.floors.popularity import Popularity
from models.recommender.interactions import DataError, Interactions
from models.recommender.readers.movielens import MovieLensReader
from models.recommender.readers.sequences import SequenceReader
from models.recommender.splits import LeaveOneOut
from tests.models.recommender.test_histories import interactions


def everything(data: Interactions) -> np.ndarray:
    return np.ones(len(data), dtype=bool)


def best(scores: Tensor) -> list[int]:
    return scores[:, 1:].argmax(1).add(1).tolist()


def test_popularity_counts_training_only() -> None:
    data = interactions([[1, 2], [3, 2], [2, 1]])
    train = np.array([1, 1, 1, 1, 0, 1], dtype=bool)
    floor = Popularity()
    floor.fit(data, train)
    scores = floor.score(torch.zeros(3, 1, dtype=torch.long))
    assert scores.shape == (3, data.n_items + 1)
    counts = np.bincount(data.item[train], minlength=4)
    assert scores[1].tolist() == counts.tolist()
    assert counts.sum() == 5


def test_markov_follows_the_last_item_within_users_only() -> None:
    data = interactions([[1, 2, 3], [1, 2], [9, 1]])
    floor = Markov()
    floor.fit(data, everything(data))
    code = {name: n + 1 for n, name in enumerate(data.item_ids)}
    history = torch.tensor([[0, code["i1"]], [code["i1"], code["i2"]]])
    assert best(floor.score(history)) == [code["i2"], code["i3"]]
    assert floor.transitions[code["i3"], code["i1"]] == 0, "user 1 ends, user 2 begins"


def test_ease_equals_its_definition() -> None:
    data = interactions([[1, 2, 3], [1, 2], [2, 3, 4], [4, 1]])
    floor = EASE(regularization=2.0)
    floor.fit(data, everything(data))
    touched = np.zeros((data.n_users, data.n_items))
    touched[data.user, data.item - 1] = 1
    inverse = np.linalg.inv(touched.T @ touched + 2.0 * np.eye(data.n_items))
    weights = np.eye(data.n_items) - inverse / np.diag(inverse)
    history = torch.tensor([[0, 1, 2]])
    expected = weights[[0, 1]].sum(0)
    np.testing.assert_allclose(floor.score(history)[0, 1:], expected, atol=1e-5)


def test_ease_refuses_a_catalog_too_large() -> None:
    data = interactions([[1, 2, 3]])
    with pytest.raises(DataError, match="EASE on 3 items"):
        EASE(max_items=2).fit(data, everything(data))


def measured(data: Interactions, excluded: np.ndarray | None, floor: object) -> tuple[float, float]:
    split = LeaveOneOut().split(data)
    task = RankingTask.build(data, split.train | split.validation, split.test, excluded)
    floor.fit(data, split.train)  # type: ignore[attr-defined]
    metrics = evaluate(floor.score, task, max_length=10_000)  # type: ignore[attr-defined]
    return metrics["hit_rate@10"], metrics["ndcg@10"]


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("floor", "expected"),
    [(Popularity(), (0.0378, 0.0184)), (Markov(), (0.2141, 0.1257)), (EASE(), (0.1075, 0.0532))],
)
def test_movielens_1m_floors(
    real_data: Path, tmp_path: Path, floor: object, expected: tuple[float, float]
) -> None:
    reader = MovieLensReader(real_data / "movielens-1m", tmp_path / "r.csv")
    data = Interactions.from_frame(reader.read())
    assert reader.exclude_from_metrics is not None
    listed = reader.exclude_from_metrics.read_text().split()
    excluded = data.user_ids.is_in(listed).to_numpy()
    assert measured(data, excluded, floor) == pytest.approx(expected, abs=0.003)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("floor", "expected"), [(Popularity(), (0.0120, 0.0056)), (Markov(), (0.0670, 0.0441))]
)
def test_beauty_floors(
    real_data: Path, tmp_path: Path, floor: object, expected: tuple[float, float]
) -> None:
    reader = SequenceReader(real_data / "amazon-beauty", tmp_path / "r.csv")
    data = Interactions.from_frame(reader.read())
    assert (data.n_users, data.n_items) == (22_363, 12_101)
    assert measured(data, None, floor) == pytest.approx(expected, abs=0.002)
