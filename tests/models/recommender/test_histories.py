"""Ragged histories: gathering, cutting, and what each held-out row may see."""

import numpy as np
import polars as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.recommender.histories import Histories
from models.recommender.interactions import Interactions


def interactions(histories: list[list[int]]) -> Interactions:
    rows = [(f"u{u}", f"i{i}") for u, items in enumerate(histories) for i in items]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    times = pl.int_range(pl.len()).cast(pl.Datetime("us", "UTC"))
    return Interactions.from_frame(frame.with_columns(timestamp=times))


def flat(lists: list[list[int]]) -> Histories:
    ends = torch.tensor(np.cumsum([len(x) for x in lists]))
    starts = ends - torch.tensor([len(x) for x in lists])
    return Histories(torch.tensor([i for x in lists for i in x]), starts, ends)


def lists(histories: Histories) -> list[list[int]]:
    return [row[row != 0].tolist() for row in histories.pad("right")]


def test_padding_sides() -> None:
    histories = flat([[1, 2, 3], [4]])
    assert histories.pad("left").tolist() == [[1, 2, 3], [0, 0, 4]]
    assert histories.pad("right").tolist() == [[1, 2, 3], [4, 0, 0]]


def test_recent_keeps_the_end() -> None:
    assert lists(flat([[1, 2, 3], [4]]).recent(2)) == [[2, 3], [4]]


def test_empty_history_pads_to_zero() -> None:
    assert flat([[], [5]]).pad("left").tolist() == [[0], [5]]


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=25), min_size=1, max_size=6), st.integers(2, 8)
)
def test_split_shows_every_transition_exactly_once(data: list[list[int]], length: int) -> None:
    whole = [tuple(x[i : i + 2]) for x in data for i in range(len(x) - 1)]
    runs = lists(flat(data).split(length)) if any(data) else []
    cut = [tuple(x[i : i + 2]) for x in runs for i in range(len(x) - 1)]
    assert sorted(cut) == sorted(whole)
    assert all(2 <= len(x) <= length for x in runs)


def test_before_sees_only_known_items_of_the_same_user_and_earlier() -> None:
    data = interactions([[1, 2, 3, 4], [5, 6, 7]])
    known = np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)
    rows = np.array([3, 2, 5])
    histories = Histories.before(data, known, rows)
    ids = data.item
    assert lists(histories) == [ids[:2].tolist(), ids[:2].tolist(), ids[4:5].tolist()]


def test_of_users_takes_all_known_items() -> None:
    data = interactions([[1, 2, 3], [4, 5]])
    known = np.array([1, 0, 1, 0, 1], dtype=bool)
    assert lists(Histories.of_users(data, known)) == [[1, 3], [5]]
