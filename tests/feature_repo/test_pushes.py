"""Pushed rows: refused with the reason, or kept online and offline in the view's own types."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from feature_repo.offline.pushes import PushError, merge
from feature_repo.pushes import push
from feature_repo.store import open_store
from feature_repo.views import USER_COUNTERS, USER_HISTORY, USER_STATISTICS
from tests.feature_repo.streaming import market


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    rows = market.events(50, 3, (-1,), seed=1)
    market.write_warehouse(folder / "data" / "warehouse", rows)
    market.materialize(folder)
    return folder


def frame(**changes: Any) -> pd.DataFrame:
    columns = {
        "user_id": ["zoe"],
        "item_ids": [["lamp", "tent"]],
        "length": [2],
        "event_timestamp": [pd.Timestamp(datetime.now(UTC))],
    }
    return pd.DataFrame({k: v for k, v in {**columns, **changes}.items() if v is not None})


def test_a_push_is_online_and_a_file_of_its_day(root: Path) -> None:
    features = root / "data" / "features"
    push(open_store(features), USER_HISTORY, frame())
    assert market.online(root, ["zoe"])["item_ids"] == [["lamp", "tent"]]
    day = datetime.now(UTC).date()
    (file,) = (USER_HISTORY.folder(features) / f"day={day}").glob("push-*.parquet")
    pushed, computed = pl.read_parquet(file), market.newest(root, USER_HISTORY)
    assert pushed.drop("created_timestamp").schema == computed.schema
    assert "zoe" in computed["user_id"].to_list()
    market.materialize(root, "features.history_length=9")
    assert file.is_file(), "computation leaves what was pushed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lenght": [2], "length": None}, "has no field lenght; nearest: length"),
        ({"length": None}, "must also have length"),
        ({"event_timestamp": [pd.Timestamp("2026-01-31")]}, "it must be a time with a zone"),
        ({"length": ["many"]}, "many"),
    ],
)
def test_what_is_wrong_with_a_push_is_named(
    root: Path, changes: dict[str, Any], reason: str
) -> None:
    store = open_store(root / "data" / "features")
    with pytest.raises((PushError, ValueError, TypeError), match=reason):
        push(store, USER_HISTORY, frame(**changes))


def test_only_some_views_take_pushes(root: Path) -> None:
    with pytest.raises(PushError, match="user_statistics takes no pushes"):
        push(open_store(root / "data" / "features"), USER_STATISTICS, frame())
    assert USER_COUNTERS.pushed


def test_many_small_files_become_one_and_no_row_is_lost(tmp_path: Path) -> None:
    for n in range(5):
        rows = pl.DataFrame({"message_id": [f"m{n}", "twice"]})
        rows.write_parquet(tmp_path / f"stream-{n}.parquet")
    pl.DataFrame({"message_id": ["other"]}).write_parquet(tmp_path / "part-0.parquet")
    assert merge(tmp_path, "stream", 5, "message_id") == 0
    assert merge(tmp_path, "stream", 4, "message_id") == 5
    (file,) = tmp_path.glob("stream-*.parquet")
    assert sorted(pl.read_parquet(file)["message_id"]) == ["m0", "m1", "m2", "m3", "m4", "twice"]


def test_a_pushed_row_that_breaks_a_rule_is_in_quarantine_and_nowhere_else(root: Path) -> None:
    features = root / "data" / "features"
    rows = pd.concat(
        [
            frame(user_id=["yan"], length=[1]),  # two items, and a length of one
            frame(user_id=["xia"]),
        ]
    )
    push(open_store(features), USER_HISTORY, rows)
    found = market.online(root, ["yan", "xia"])["item_ids"]
    assert found == [None, ["lamp", "tent"]]
    assert "yan" not in market.newest(root, USER_HISTORY)["user_id"].to_list()
    kept = pl.read_parquet(features / "quarantine" / "user_history" / "*.parquet")
    (reason,) = kept.filter(pl.col("user_id") == "yan")["reason"].to_list()
    assert "length" in reason
