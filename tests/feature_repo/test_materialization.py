"""Features, computed and published into real stores, and read back as the gateway reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_repo.materialization import Materialization
from feature_repo.store import StoreError, open_store
from feature_repo.views import table_path
from tests.conftest import ROOT

START = datetime(2025, 12, 1, tzinfo=UTC)


def interactions(users: int = 30) -> pl.DataFrame:
    rows = [
        (f"u{u}", f"i{(u * 7 + n * 3) % 50}", START + timedelta(hours=5 * n + u))
        for u in range(users)
        for n in range(1 + u % 12)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC"))).sort(
        "timestamp", maintain_order=True
    )


def write_events(folder: Path, frame: pl.DataFrame) -> Path:
    events = folder / "events"
    for (day,), part in frame.group_by(pl.col("timestamp").dt.date(), maintain_order=True):
        path = events / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        part.select(
            "user_id",
            "item_id",
            pl.lit("Product Viewed").alias("event"),
            pl.lit(2.5).alias("price"),
            pl.lit(1).alias("quantity"),
            "timestamp",
        ).write_parquet(path)
    return events


def materialization(folder: Path, online: dict[str, Any] | None = None) -> Materialization:
    return Materialization(
        folder=folder,
        online_store=online
        or {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
        offline_store={"type": "feature_repo.offline.store.AsofOfflineStore"},
        history_length=5,
        write_rows=7,
        memory_limit="512MB",
    )


@pytest.fixture(params=["sqlite", "redis"])
def published(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: str
) -> tuple[Path, pl.DataFrame, dict[str, dict[str, Any]]]:
    online = {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": redis_server,
    }
    made = materialization(tmp_path / "features", online if request.param == "redis" else None)
    frame = interactions()
    report = made(frame.to_arrow(), write_events(tmp_path, frame))
    return tmp_path / "features", frame, report


def online(folder: Path, features: list[str], keys: dict[str, list[str]]) -> dict[str, list[Any]]:
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*keys.values(), strict=True)]
    return dict(open_store(folder).get_online_features(features, rows).to_dict())


def test_online_equals_what_happened(
    published: tuple[Path, pl.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    folder, frame, report = published
    users = [f"u{u}" for u in range(30)]
    found = online(folder, ["user_history:item_ids", "user_history:length"], {"user_id": users})
    for user, items, length in zip(users, found["item_ids"], found["length"], strict=True):
        touched = frame.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert list(items) == touched[-5:]
        assert length == len(touched)
    assert report["user_history"]["online_keys"] == 30
    counted = online(folder, ["item_statistics:times_viewed"], {"item_id": ["i0", "i3"]})
    for item, views in zip(counted["item_id"], counted["times_viewed"], strict=True):
        assert views == int((frame["item_id"] == item).sum())


def test_an_unknown_user_has_no_values(
    published: tuple[Path, pl.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    folder, _, _ = published
    found = online(folder, ["user_history:item_ids"], {"user_id": ["nobody"]})
    assert found["item_ids"] == [None]


def test_offline_and_online_hold_the_same_values(
    published: tuple[Path, pl.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    folder, _, _ = published
    store = open_store(folder)
    features = ["user_statistics:views", "user_statistics:spend", "user_statistics:active_days"]
    users = [f"u{u}" for u in range(30)]
    now = START + timedelta(days=60)
    entities = pl.DataFrame({"user_id": users}).with_columns(
        event_timestamp=pl.lit(now).cast(pl.Datetime("us", "UTC"))
    )
    offline = store.get_historical_features(entities.to_pandas(), features).to_df()
    offline = offline.set_index("user_id").loc[users]
    live = online(folder, features, {"user_id": users})
    for name in ("views", "spend", "active_days"):
        assert list(offline[name]) == live[name], name


def test_every_service_can_be_read(
    published: tuple[Path, pl.DataFrame, dict[str, dict[str, Any]]],
) -> None:
    folder, _, _ = published
    store = open_store(folder)
    assert {s.name for s in store.list_feature_services()} == {"recommender_v1", "ranking_v1"}
    row = {"user_id": "u5", "item_id": "i0"}
    answer = store.get_online_features(store.get_feature_service("ranking_v1"), [row]).to_dict()
    assert answer["active_days"][0] >= 1
    for view in store.list_feature_views():
        assert view.description
        assert all(f.description for f in view.features)


def test_doing_it_twice_changes_nothing_and_more_days_are_added(tmp_path: Path) -> None:
    frame = interactions()
    folder = tmp_path / "features"
    make = materialization(folder)
    make(frame.to_arrow(), None)
    offline = pl.read_parquet(table_path(folder, "user_history")).drop("created_timestamp")
    again = make(frame.to_arrow(), None)
    repeated = pl.read_parquet(table_path(folder, "user_history")).drop("created_timestamp")
    order = ["user_id", "event_timestamp"]
    assert repeated.sort(order).equals(offline.sort(order))
    assert again["user_history"]["offline_rows"] == len(offline)
    later = frame.tail(1).with_columns(
        item_id=pl.lit("new"), timestamp=pl.col("timestamp") + pl.duration(days=3)
    )
    make(pl.concat([frame, later]).to_arrow(), None)
    user = later["user_id"].item()
    found = online(folder, ["user_history:item_ids"], {"user_id": [user]})
    assert list(found["item_ids"][0])[-1] == "new"
    assert list(folder.rglob("*.partial")) == list(folder.rglob("*.newest")) == []


def test_without_a_warehouse_only_histories_are_published(tmp_path: Path) -> None:
    report = materialization(tmp_path)(interactions().to_arrow(), None)
    assert set(report) == {"user_history"}
    assert {s.name for s in open_store(tmp_path).list_feature_services()} == {"recommender_v1"}


def test_a_half_written_table_is_named_and_the_old_features_stay(tmp_path: Path) -> None:
    frame = interactions()
    events = write_events(tmp_path, frame)
    folder = tmp_path / "features"
    materialization(folder)(frame.to_arrow(), events)
    before = table_path(folder, "user_statistics").read_bytes()
    broken = sorted(events.rglob("*.parquet"))[1]
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(StoreError, match=broken.parent.name):
        materialization(folder)(frame.to_arrow(), events)
    assert table_path(folder, "user_statistics").read_bytes() == before
    assert list(folder.rglob("*.partial")) == []


def test_a_folder_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no feature_store\.yaml.*materialize\.py"):
        open_store(tmp_path)


def script(tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/materialize.py", f"paths.root={tmp_path}",
         f"output_dir={tmp_path / 'run'}", *overrides],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_script_publishes_a_file_of_sequences(tmp_path: Path) -> None:
    data = tmp_path / "sequences.txt"
    data.write_text("ann a b c\nbob b c\n")
    done = script(tmp_path, "data=sequences", f"data.path={data}")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert report["interactions"] == 5
    found = online(tmp_path / "data" / "features", ["user_history:item_ids"], {"user_id": ["bob"]})
    assert list(found["item_ids"][0]) == ["b", "c"]


def test_the_script_without_a_warehouse_fails_with_66(tmp_path: Path) -> None:
    done = script(tmp_path)
    assert done.returncode == 66, done.stderr
    assert "warehouse" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_publishes_into_redis(tmp_path: Path, redis_server: str) -> None:
    data = tmp_path / "sequences.txt"
    data.write_text("zoe a b c\n")
    done = script(
        tmp_path, "data=sequences", f"data.path={data}", "features/online_store=redis",
        f"features.online_store.connection_string={redis_server}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = online(tmp_path / "data" / "features", ["user_history:item_ids"], {"user_id": ["zoe"]})
    assert list(found["item_ids"][0]) == ["a", "b", "c"]
