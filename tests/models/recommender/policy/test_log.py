"""Logs in both shapes, and every way in which a row can be bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.recommender.interactions import DataError
from models.recommender.policy.log import Log, LogReader
from models.recommender.readers.files import MissingInputError

COLUMNS = {n: n for n in ("request_id", "user_id", "items", "propensity", "reward")}
GOOD = {"request_id": "r", "user_id": "u", "items": "a", "propensity": 0.5, "reward": 1.0}


def read(path: Path, share: float = 1.0, rewards: Path | None = None, **columns: str | None) -> Log:
    reader = LogReader(
        str(path), {**COLUMNS, **columns}, str(path.parent / "rejects.csv"), share,
        str(rewards) if rewards else None,
    )  # fmt: skip
    return reader.read()


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_with_lists_become_rows_with_places(tmp_path: Path) -> None:
    folder = tmp_path / "predictions" / "date=2026-01-31"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "request_id": ["r1", "r2", "r3"],
            "user_id": ["u1", "u2", "u1"],
            "items": [["a", "b"], ["c"], []],
            "propensity": [[0.5, 0.25], [1.0], []],
        }
    ).write_parquet(folder / "part-1.parquet")
    rewards = tmp_path / "rewards.parquet"
    pl.DataFrame(
        {"request_id": ["r1", "r1", "r9"], "item_id": ["b", "b", "a"], "reward": [1, 2, 5]}
    ).write_parquet(rewards)
    log = read(tmp_path / "predictions", rewards=rewards, reward=None)
    kept = log.frame.select("request_id", "item_id", "place", "propensity", "reward").rows()
    assert kept == [
        ("r1", "a", 1, 0.5, 0.0),
        ("r1", "b", 2, 0.25, 3.0),
        ("r2", "c", 1, 1.0, 0.0),
    ]
    assert (len(log), log.rejected) == (3, 0)
    assert log.codes("user_id").tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"propensity": 0}, "propensity is 0 or below"),
        ({"propensity": -0.1}, "propensity is 0 or below"),
        ({"propensity": 1.2}, "propensity is above 1"),
        ({"propensity": None}, "no propensity"),
        ({"items": ""}, "empty item id"),
        ({"items": None}, "empty item id"),
        ({"request_id": None}, "empty request id"),
        ({"reward": None}, "reward is not a number"),
        ({"place": 0}, "place is not a number from 1"),
        ({"judged": 1.5}, "the target's probability is not between 0 and 1"),
        ({"judged": None}, "the target's probability is not between 0 and 1"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = GOOD | {"place": 1, "judged": 0.5}
    rows = [good | {"request_id": f"g{n}"} for n in range(3)] + [good | change]
    log = read(lines(tmp_path / "log.jsonl", rows), place="place", target="judged")
    assert (len(log), log.rejected, log.read) == (3, 1, 4)
    aside = pl.read_csv(tmp_path / "rejects.csv")
    assert aside.select("line", "reason").rows() == [(4, reason)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_propensities_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame([GOOD, GOOD | {"request_id": "x", "propensity": value}]).write_parquet(path)
    assert read(path).rejected == 1
    assert "propensity is not a number" in (tmp_path / "rejects.csv").read_text()


def test_text_that_is_no_number(tmp_path: Path) -> None:
    rows = [GOOD | {"propensity": "0.5"}, GOOD | {"request_id": "x", "propensity": "half"}]
    log = read(lines(tmp_path / "log.jsonl", rows))
    assert (len(log), log.rejected) == (1, 1)


def test_what_is_left_of_an_answer_goes_with_its_bad_item(tmp_path: Path) -> None:
    rows = [
        GOOD | {"items": ["a", "b"], "propensity": [0.5, 0.0], "reward": [1.0, 1.0]},
        GOOD | {"request_id": "s", "items": ["a"], "propensity": [0.5, 0.5], "reward": [1.0]},
        GOOD | {"request_id": "t", "items": ["a"], "propensity": None, "reward": [1.0]},
        GOOD | {"request_id": "v", "items": ["a"], "propensity": [0.5], "reward": [1.0]},
    ]
    log = read(lines(tmp_path / "log.jsonl", rows))
    assert log.frame["request_id"].to_list() == ["v"]
    reasons = pl.read_csv(tmp_path / "rejects.csv")["reason"].to_list()
    uneven = "lists of items, propensities and rewards of different lengths"
    assert sorted(reasons) == sorted(
        ["another item of the same request is bad", "propensity is 0 or below", uneven, uneven]
    )


def test_two_items_at_one_place(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [GOOD, GOOD, GOOD | {"request_id": "other"}])
    assert read(path).rejected == 2
    assert "two items at one place" in (tmp_path / "rejects.csv").read_text()


def test_too_many_bad_rows_fail_and_count_the_reasons(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [GOOD, GOOD | {"request_id": "x", "propensity": 3}])
    with pytest.raises(DataError, match=r"1 × propensity is above 1.*max_reject_share"):
        read(path, share=0.1)


def test_no_usable_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable row of 1"):
        read(lines(tmp_path / "log.jsonl", [GOOD | {"propensity": 3}]))


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [GOOD])
    with pytest.raises(DataError, match=r"no column chance; it has .*propensity"):
        read(path, propensity="chance")
    with pytest.raises(DataError, match=r"no column reward \(unset\)"):
        read(path, reward=None)
    other = lines(tmp_path / "rewards.jsonl", [{"request_id": "r", "value": 1}])
    with pytest.raises(DataError, match="no column item_id, reward"):
        read(path, rewards=other)


@pytest.mark.parametrize("newer", [1, 2])
def test_a_log_that_has_gained_a_column_is_read_whole(newer: int, tmp_path: Path) -> None:
    """As the gateway's has: files from before lack it, whichever is read first."""
    for n in (1, 2):
        row = GOOD | {"request_id": f"r{n}"} | ({"ranker": "x"} if n == newer else {})
        (tmp_path / f"date=2026-01-0{n}").mkdir()
        pl.DataFrame([row]).write_parquet(tmp_path / f"date=2026-01-0{n}" / "part.parquet")
    assert read(tmp_path).frame["request_id"].to_list() == ["r1", "r2"]


@pytest.mark.parametrize("name", ["log.parquet", "log.jsonl"])
def test_files_that_are_none_of_the_two(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(MissingInputError, match="no such file"):
        read(path)
    path.write_bytes(b"\x00 neither")
    with pytest.raises(DataError, match=r"Parquet or JSON lines \(\.jsonl\) is needed"):
        read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.parquet file"):
        read(tmp_path / "empty")


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [GOOD, GOOD])
    path.write_text(path.read_text() + '\n{"request_id": "cut')
    with pytest.raises(DataError, match=r"line \d is no JSON object: '\{\"request_id\": \"cut'"):
        read(path)


def test_one_column_may_have_two_meanings(tmp_path: Path) -> None:
    """The policy that ran is judged by its own log: it earns what was earned."""
    log = read(lines(tmp_path / "log.jsonl", [GOOD]), target="propensity")
    assert log.frame.select("propensity", "target").rows() == [(0.5, 0.5)]


def test_callers_without_a_name_are_not_one_user(tmp_path: Path) -> None:
    rows = [
        {**GOOD, "request_id": r, "user_id": u} for r, u in (("1", None), ("2", None), ("3", "u"))
    ]
    log = read(lines(tmp_path / "log.jsonl", rows))
    assert len(set(log.codes("user_id").tolist())) == 3
