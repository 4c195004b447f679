"""What kind of lists: worked out by hand, and beside the plain form of each measure."""

from __future__ import annotations

import json
from itertools import combinations
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from models.recommender.beyond.diversity import Diversity
from models.recommender.beyond.item_vectors import Attributes, CoOccurrence
from models.recommender.beyond.novelty import Novelty
from models.recommender.beyond.popularity_bias import PopularityBias
from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.histories import Histories
from models.recommender.interactions import DataError, Interactions


def interactions(histories: list[str]) -> Interactions:
    """One user a string, one item a letter."""
    rows = [(f"u{u}", item) for u, items in enumerate(histories) for item in items]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    times = pl.int_range(pl.len()).cast(pl.Datetime("us", "UTC"))
    return Interactions.from_frame(frame.with_columns(timestamp=times))


# Graph ids in order of appearance: a 1, b 2, c 3, d 4, e 5.
DATA = interactions(["abaa", "abc", "ad", "ae"])
ALL = np.ones(len(DATA), dtype=bool)
HISTORIES = Histories.of_users(DATA, ALL)


def rows(*users: int) -> Histories:
    return HISTORIES.take(torch.tensor(users))


def test_novelty_counts_users_and_not_touches() -> None:
    lens = Novelty()
    lens.fit(DATA, ALL)
    lens.see(torch.tensor([[1, 2], [3, 4]]), rows(0, 1))
    expected_one = np.mean([-log2(5 / 5), -log2(2 / 5)])
    expected_two = np.mean([-log2(5 / 5), -log2(3 / 5), -log2(2 / 5), -log2(2 / 5)])
    found = lens.metrics([1, 2])
    assert found == pytest.approx({"novelty@1": expected_one, "novelty@2": expected_two})
    lens.see(torch.tensor([[1, 1]]), rows(0))
    assert lens.metrics([2]) == {"novelty@2": 0.0}, "it forgets what it has told"


class Given:
    def __init__(self, vectors: Tensor) -> None:
        self.given = torch.nn.functional.normalize(vectors, dim=1)

    def vectors(self, data: Interactions, train: np.ndarray) -> Tensor:
        return self.given


def test_diversity_is_the_mean_over_all_pairs_of_every_prefix() -> None:
    vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    lens = Diversity(Given(vectors))
    lens.fit(DATA, ALL)
    lists = torch.tensor([[5, 3, 1, 2], [2, 4, 1, 3], [1, 2, 3, 4]])
    lens.see(lists[:2], rows(0, 1))
    lens.see(lists[2:], rows(2))
    unit = lens.vectors.numpy()
    found = lens.metrics([1, 2, 4])
    assert set(found) == {"diversity@2", "diversity@4"}, "one item is no pair"
    for k in (2, 4):
        pairs = [1 - unit[i] @ unit[j] for x in lists.tolist() for i, j in combinations(x[:k], 2)]
        assert found[f"diversity@{k}"] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_co_occurrence_is_the_cosine_of_who_touched() -> None:
    vectors = CoOccurrence(width=20_000).vectors(DATA, ALL)
    likeness = vectors @ vectors.T
    assert not vectors[0].any()
    assert likeness.diagonal()[1:].tolist() == pytest.approx([1] * 5, abs=0.03)
    assert likeness[1, 2].item() == pytest.approx(2 / np.sqrt(4 * 2), abs=0.03)
    assert likeness[2, 3].item() == pytest.approx(1 / np.sqrt(2 * 1), abs=0.03)
    assert likeness[4, 5].item() == pytest.approx(0, abs=0.03)


def test_attributes_make_items_alike(tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_text(json.dumps({"a": [1, 2], "b": [2, 3], "c": [], "elsewhere": [9]}))
    vectors = Attributes(path).vectors(DATA, ALL)
    assert vectors.shape == (6, 3)
    assert (vectors[1] @ vectors[2]).item() == pytest.approx(0.5)
    assert not vectors[[0, 3, 4, 5]].any()


@pytest.mark.parametrize("content", ["[]", "{", '{"z": [1]}', '{"a": 3}'])
def test_attributes_that_are_none_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "attributes.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"attributes\.json"):
        Attributes(path).vectors(DATA, ALL)


def test_popularity_bias_compares_lists_with_the_tastes_of_three_groups() -> None:
    tastes = ["ab"] * 6 + ["ac", "ad", "ce", "de", "ef"]
    data = interactions(tastes)
    train = np.ones(len(data), dtype=bool)
    histories = Histories.of_users(data, train)
    lens = PopularityBias(head=0.34, edge=0.2)  # a and b of six items; two users of eleven
    lens.fit(data, train)
    lists = torch.ones(11, 2, dtype=torch.long)  # the most popular item for everybody
    for part in torch.arange(11).split(4):
        lens.see(lists[part], histories.take(part))
    found = lens.metrics([1])
    share = {"a": 8 / 11, "b": 6 / 11, "c": 2 / 11, "d": 2 / 11, "e": 3 / 11, "f": 1 / 11}
    gaps = {
        # of the three who know no popular item, the first two
        "niche": np.mean([share[i] for t in ("ce", "de") for i in t]),
        "diverse": np.mean([share[i] for t in ["ef", "ac", "ad", *["ab"] * 4] for i in t]),
        "blockbuster": np.mean([share["a"], share["b"]]),
    }
    expected = {f"popularity_lift_{g}@1": share["a"] / gap - 1 for g, gap in gaps.items()}
    assert found == pytest.approx(expected)
    assert found["popularity_lift_niche@1"] > found["popularity_lift_blockbuster@1"] > 0


@pytest.mark.parametrize(("head", "edge"), [(0.0, 0.2), (1.0, 0.2), (0.2, 0.6), (0.2, 0.0)])
def test_shares_that_are_none_are_refused(head: float, edge: float) -> None:
    with pytest.raises(ValueError, match=r"head|edge"):
        PopularityBias(head, edge)


def test_lenses_see_the_lists_of_the_evaluation() -> None:
    known = np.array([1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0], dtype=bool)
    task = RankingTask.build(DATA, known, ~known)
    lenses = [Novelty(), Diversity(CoOccurrence(width=8)), PopularityBias()]
    for lens in lenses:
        lens.fit(DATA, known)
    counts = torch.tensor([0.0, 9, 7, 5, 3, 1])
    scorer = lambda history: counts.expand(len(history), -1).clone()  # noqa: E731
    plain = evaluate(scorer, task, max_length=5, ks=(1, 2), batch_size=2)
    found = evaluate(scorer, task, max_length=5, ks=(1, 2), batch_size=2, lenses=lenses)
    assert {name: found[name] for name in plain} == plain
    more = set(found) - set(plain)
    assert {"novelty@1", "novelty@2", "diversity@2"} <= more
    assert any(name.startswith("popularity_lift_") for name in more)
    again = evaluate(scorer, task, max_length=5, ks=(1, 2), batch_size=1, lenses=lenses)
    assert again == pytest.approx(found)
