"""Similar items from co-occurrence counts, against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.recommender.histories import Histories
from models.recommender.neighbours import Neighbourhood


def histories(*users: list[int]) -> Histories:
    ends = torch.tensor([len(u) for u in users]).cumsum(0)
    items = torch.tensor([i for u in users for i in u], dtype=torch.int64)
    return Histories(items, ends - torch.tensor([len(u) for u in users]), ends)


def test_similarity_is_the_shrunk_cosine_of_users() -> None:
    found = Neighbourhood(n=5, shrinkage=2, recent=10).of(
        histories([1, 2, 3], [1, 2], [2, 3], [4]), 4
    )
    # items 1 and 2 have two users in common, of two and three
    alike = 2 / math.sqrt(2 * 3) * 2 / (2 + 2)
    assert found["neighbours"][0] == [1, 2]
    assert found["similarities"][0] == pytest.approx(
        [alike, 1 / math.sqrt(2 * 2) * 1 / 3], abs=1e-5
    )
    assert found["neighbours"][3] == [], "nobody touched anything else beside item 4"


def test_several_touches_count_once_and_equal_ones_keep_the_vocabularys_order() -> None:
    found = Neighbourhood(n=1, shrinkage=0, recent=10).of(histories([1, 2, 2, 1, 3]), 3)
    assert found["neighbours"] == [[1], [0], [0]]
    assert found["similarities"][0] == pytest.approx([1.0])


def test_only_the_recent_part_of_a_history_counts() -> None:
    found = Neighbourhood(n=5, shrinkage=0, recent=2).of(histories([1, 2, 3]), 3)
    assert found["neighbours"] == [[], [2], [1]]


def test_a_user_with_one_interaction_and_an_item_of_none() -> None:
    found = Neighbourhood(n=5, shrinkage=0, recent=2).of(histories([1], [1, 2]), 3)
    assert found["neighbours"] == [[1], [0], []]


def test_blocks_of_items_give_what_one_table_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    users = [rng.choice(np.arange(1, 41), 8, replace=False).tolist() for _ in range(60)]
    kind = Neighbourhood(n=6, shrinkage=3, recent=8)
    whole = kind.of(histories(*users), 40)
    monkeypatch.setattr("models.recommender.neighbours._BLOCK", 7)
    assert kind.of(histories(*users), 40) == whole
