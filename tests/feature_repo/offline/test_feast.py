"""Feast's own SDK and command line on our folders: `day=…/part-0.parquet` and pushed files."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.repo_config import RepoConfig

from feature_repo.offline.table import JoinError
from feature_repo.sources import Frame
from feature_repo.store import open_store
from tests.conftest import ROOT
from tests.feature_repo.stores import materialization

START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = ["user_history:item_ids", "user_history:length"]


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Histories of three days, and one row that was pushed on the third."""
    touches = pl.DataFrame(
        [("ann", "a", at(1)), ("ann", "b", at(30)), ("bob", "c", at(31)), ("bob", "d", at(50))],
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")},
        orient="row",
    )
    made = tmp_path / "features"
    materialization(made)({"interactions": Frame(touches.to_arrow())})
    pushed = pl.DataFrame(
        {
            "created_timestamp": [at(51)], "event_timestamp": [at(51)], "length": [3],
            "item_ids": [["a", "b", "e"]], "user_id": ["ann"],
        }
    )  # fmt: skip
    days = made / "offline" / "user_history"
    pushed.write_parquet(days / "day=2026-01-03" / "push-1.parquet")
    assert len(list(days.glob("day=*/*.parquet"))) == 4
    (made / "online.db").unlink()  # as if it were lost
    store = open_store(made)
    store.apply(store.list_feature_views())  # makes the tables again
    return made


def lengths(folder: Path, *users: str) -> list[Any]:
    rows = [{"user_id": user} for user in users]
    return list(open_store(folder).get_online_features(FEATURES, rows).to_dict()["length"])


def test_materialize_takes_the_newest_of_a_range(folder: Path) -> None:
    store = open_store(folder)
    store.materialize(START, at(40), feature_views=["user_history"])
    assert lengths(folder, "ann", "bob", "nobody") == [2, 1, None]
    store.materialize_incremental(at(60), feature_views=["user_history"])
    assert lengths(folder, "ann", "bob") == [3, 2]


def test_joins_see_pushed_rows_and_zones_do_not_matter(folder: Path) -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob", "bob"],
            "event_timestamp": pd.to_datetime([at(50.9), at(51), at(30), at(60)]),
        }
    )
    store = open_store(folder)
    expected = [2, 3, None, 2]
    zones = (None, "UTC", "Asia/Kolkata", "America/New_York")
    for zone in zones:
        moved = frame["event_timestamp"].dt.tz_convert(zone)
        job = store.get_historical_features(frame.assign(event_timestamp=moved), FEATURES)
        found = job.to_df()["length"].astype("Int64")
        assert [None if pd.isna(v) else v for v in found] == expected, zone


def test_training_sets_are_saved_and_read_again(folder: Path, tmp_path: Path) -> None:
    store = open_store(folder)
    frame = pd.DataFrame({"user_id": ["ann", "bob"], "event_timestamp": [at(51), at(60)]})
    job = store.get_historical_features(frame, FEATURES)
    storage = SavedDatasetFileStorage(str(tmp_path / "saved" / "train.parquet"))
    with pytest.warns(RuntimeWarning, match="experimental"):
        store.create_saved_dataset(job, "train", storage)
    with pytest.warns(RuntimeWarning, match="experimental"):
        again = open_store(folder).get_saved_dataset("train").to_df()
    assert again.sort_values("user_id")["length"].tolist() == [3, 2]
    assert sorted(again.columns) == ["event_timestamp", "item_ids", "length", "user_id"]


def pulled(folder: Path, call: str, **more: Any) -> pd.DataFrame:
    store = open_store(folder)
    offline = store._get_provider().offline_store
    arguments = {
        "config": store.config,
        "data_source": store.get_feature_view("user_history").batch_source,
        "join_key_columns": ["user_id"],
        "feature_name_columns": ["length"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        **more,
    }
    frame: pd.DataFrame = getattr(offline, f"pull_{call}_from_table_or_query")(**arguments).to_df()
    return frame


def test_both_ends_of_a_range_are_included(folder: Path) -> None:
    found = pulled(folder, "all", start_date=at(30), end_date=at(50))
    assert sorted(found["event_timestamp"]) == [at(30), at(31), at(50)]
    assert len(pulled(folder, "all")) == 5
    newest = pulled(folder, "latest", start_date=at(0).replace(tzinfo=None), end_date=at(30))
    assert newest[["user_id", "length"]].to_numpy().tolist() == [["ann", 2]]


def test_a_corrected_row_replaces_the_one_of_the_same_moment(folder: Path) -> None:
    old = pl.read_parquet(folder / "offline" / "user_history" / "day=2026-01-03" / "push-1.parquet")
    old.with_columns(
        pl.col("created_timestamp") + pl.duration(hours=1), length=pl.lit(9, pl.Int64)
    ).write_parquet(folder / "offline" / "user_history" / "day=2026-01-03" / "push-0.parquet")
    open_store(folder).materialize(START, at(60), feature_views=["user_history"])
    assert lengths(folder, "ann") == [9]


def feast(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("feast")), "-c", str(folder), *arguments],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_command_line_lists_and_materializes(folder: Path) -> None:
    listed = feast(folder, "feature-views", "list")
    assert "user_history" in listed
    assert "length" in feast(folder, "feature-views", "describe", "user_history")
    feast(folder, "materialize-incremental", "-v", "user_history", at(60).isoformat()[:19])
    assert lengths(folder, "ann", "bob") == [3, 2]


def test_a_half_written_file_is_named(folder: Path) -> None:
    path = folder / "offline" / "user_history" / "day=2026-01-02" / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    frame = pd.DataFrame({"user_id": ["ann"], "event_timestamp": [at(51)]})
    store = open_store(folder)
    with pytest.raises(JoinError, match=r"view user_history: .*day=2026-01-02.*cannot be read"):
        store.get_historical_features(frame, FEATURES).to_df()
    with pytest.raises(JoinError, match=r"day=2026-01-02.*cannot be read"):
        store.materialize(START, at(60), feature_views=["user_history"])


def test_a_key_of_another_type_is_named(folder: Path) -> None:
    frame = pd.DataFrame({"user_id": [1], "event_timestamp": [at(51)]})
    with pytest.raises(JoinError, match="key user_id of the entity frame is Int64, but user_id"):
        open_store(folder).get_historical_features(frame, FEATURES).to_df()


def test_nanoseconds_are_read_as_the_same_moment(folder: Path) -> None:
    path = folder / "offline" / "user_history" / "day=2026-01-02" / "part-0.parquet"
    rows = pl.read_parquet(path, hive_partitioning=False)
    rows.with_columns(pl.col("event_timestamp").dt.cast_time_unit("ns")).write_parquet(path)
    moments = pd.to_datetime([at(30)]).astype("datetime64[ns, UTC]")
    frame = pd.DataFrame({"user_id": ["ann"], "event_timestamp": moments})
    found = open_store(folder).get_historical_features(frame, FEATURES).to_df()
    assert found["length"].tolist() == [2]
    assert isinstance(open_store(folder).config, RepoConfig)
