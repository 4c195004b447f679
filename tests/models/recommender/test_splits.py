"""Splits and k-core, by their definitions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommender.interactions import DataError, Interactions
from models.recommender.k_core import k_core
from models.recommender.splits import GlobalTime, LeaveOneOut, RandomFolds
from tests.models.recommender.test_histories import interactions

histories = st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=9), min_size=1, max_size=9)


@given(histories)
def test_leave_one_out(data: list[list[int]]) -> None:
    split = LeaveOneOut().split(interactions(data))
    position = 0
    for items in data:
        run = slice(position, position + len(items))
        if len(items) < 3:
            assert split.train[run].all()
        else:
            assert split.test[run].tolist() == [False] * (len(items) - 1) + [True]
            assert split.validation[run].tolist() == [False] * (len(items) - 2) + [True, False]
        position += len(items)
    assert (split.train.astype(int) + split.validation + split.test == 1).all()


def test_leave_one_out_with_few_validation_users() -> None:
    data = interactions([[1, 2, 3, 4]] * 20)
    split = LeaveOneOut(validation_users=5).split(data)
    assert (split.test.sum(), split.validation.sum(), split.train.sum()) == (20, 5, 55)
    again = LeaveOneOut(validation_users=5).split(data)
    assert (again.validation == split.validation).all()


def test_global_time_leaves_no_future_in_training() -> None:
    data = interactions([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]])
    split = GlobalTime(0.6, 0.8).split(data)
    assert data.timestamp[split.train].max() < data.timestamp[split.validation].min()
    assert data.timestamp[split.validation].max() < data.timestamp[split.test].min()
    with pytest.raises(DataError, match="must come before"):
        GlobalTime(0.9, 0.8).split(data)
    iso = GlobalTime("1970-01-01T00:00:00.000006", "1970-01-01T00:00:00.000008+00:00").split(data)
    assert (iso.train.sum(), iso.validation.sum(), iso.test.sum()) == (6, 2, 2)


def test_random_folds_cover_everything_once() -> None:
    data = interactions([list(range(10))] * 3)
    tests = [RandomFolds(5, fold, seed=3).split(data).test for fold in range(5)]
    assert (np.sum(tests, axis=0) == 1).all()
    with pytest.raises(DataError, match="fold 5 of 5"):
        RandomFolds(5, 5).split(data)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), st.integers(1, 4))
def test_k_core_equals_removing_one_at_a_time(rows: list[tuple[int, int]], k: int) -> None:
    left = list(rows)
    while True:
        users = [u for u, _ in left]
        items = [i for _, i in left]
        poor = next((r for r in left if users.count(r[0]) < k or items.count(r[1]) < k), None)
        if poor is None:
            break
        left.remove(poor)
    frame = pl.DataFrame(rows, schema={"user_id": pl.Int64, "item_id": pl.Int64}, orient="row")
    assert k_core(frame, k).rows() == left


def test_equal_times_keep_the_input_order() -> None:
    same = pl.Series([0, 0, 0, 0]).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame(
        {"user_id": ["b", "a", "b", "a"], "item_id": ["3", "1", "2", "9"], "timestamp": same}
    )
    data = Interactions.from_frame(frame)
    ordered = [data.item_ids[i - 1] for i in data.item.tolist()]
    assert ordered == ["3", "2", "1", "9"]


def test_ids_may_be_any_text() -> None:
    ids = ["-1", "9223372036854775808", "ä b", "0", "00"]
    frame = pl.DataFrame(
        {
            "user_id": ids,
            "item_id": ids,
            "timestamp": pl.Series(range(5)).cast(pl.Datetime("us", "UTC")),
        }
    )
    data = Interactions.from_frame(frame)
    assert data.item_ids.to_list() == ids
    assert data.n_users == 5


def test_no_rows_is_an_error() -> None:
    empty = pl.DataFrame(
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime}
    )
    with pytest.raises(DataError, match="no interactions left"):
        Interactions.from_frame(empty)
