"""The newer event_timestamp wins and an equal one replaces, whoever writes at the same time."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Int64, String

from feature_repo.store import create_store, open_store
from tests.feature_repo.stores import REGISTRY

NOW = datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def online(kind: str, redis_server: str) -> dict[str, Any]:
    return {
        "sqlite": {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
        "redis": {
            "type": "feature_repo.online.stores.RedisOnlineStore",
            "connection_string": redis_server,
        },
    }[kind]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, redis_server: str) -> Any:
    with redis.Redis.from_url(f"redis://{redis_server}") as admin:
        admin.flushall()
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    view = FeatureView(
        name="counts",
        entities=[user],
        schema=[Field(name="n", dtype=Int64), Field(name="text", dtype=String)],
        source=FileSource(name="t", path=str(tmp_path / "t.parquet"), timestamp_field="ts"),
    )
    made = create_store(
        tmp_path / "store", online(request.param, redis_server), {"type": "duckdb"}, REGISTRY
    )
    made.apply([user, view])
    return made


def write(store: Any, *rows: tuple[str, int, datetime]) -> None:
    frame = pd.DataFrame(
        [{"user": user, "n": n, "text": str(n), "ts": moment} for user, n, moment in rows]
    )
    store.write_to_online_store("counts", frame)


def read(store: Any, *users: str) -> list[int | None]:
    found = store.get_online_features(["counts:n", "counts:text"], {"user": list(users)}).to_dict()
    assert [str(n) if n is not None else None for n in found["n"]] == found["text"], "a torn row"
    values: list[int | None] = found["n"]
    return values


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (NOW, NOW + MICROSECOND, 2),
        (NOW, NOW - MICROSECOND, 1),
        (NOW, NOW, 2),
        (NOW, NOW - timedelta(seconds=1), 1),
        (NOW.replace(microsecond=0), NOW.replace(microsecond=1), 2),
        (NOW.replace(microsecond=1), NOW.replace(microsecond=0), 1),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC), 1),
        (datetime(1969, 7, 20, tzinfo=UTC), datetime(1969, 7, 20, 1, tzinfo=UTC), 2),
        (datetime(1969, 7, 20, 1, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC), 1),
        (datetime(2200, 1, 1, tzinfo=UTC), NOW, 1),
    ],
)
def test_two_writes(store: Any, first: datetime, second: datetime, kept: int) -> None:
    write(store, ("u", 1, first))
    write(store, ("u", 2, second))
    assert stored(store, "u") == kept


def stored(store: Any, user: str) -> int:
    """The value as it lies in the store: reads take moments before 1970 for nothing written."""
    config = store.config.online_store
    if "Sqlite" in config.type:
        with sqlite3.connect(config.path) as connection:
            query = "SELECT value_text FROM millrace_counts WHERE feature_name = 'text'"
            ((text,),) = connection.execute(query).fetchall()
        return int(text)
    with redis.Redis.from_url(f"redis://{config.connection_string}") as client:
        (key,) = client.keys()
        fields = client.hgetall(key)
    texts = [v for k, v in fields.items() if not k.startswith(b"_ts") and v[:1] == b"\x12"]
    return int(texts[0][2:])


def test_rows_of_one_batch_keep_the_order_of_their_moments(store: Any) -> None:
    write(store, ("u", 1, NOW), ("u", 3, NOW + MICROSECOND * 2), ("u", 2, NOW + MICROSECOND))
    write(store, ("v", 1, NOW), ("v", 2, NOW))
    assert read(store, "u", "v") == [3, 2]


def test_moments_are_kept_to_the_microsecond(store: Any) -> None:
    moment = NOW + MICROSECOND * 123
    write(store, ("u", 1, moment))
    answer = store.get_online_features(["counts:n"], {"user": ["u"]}).proto
    stamp = answer.results[1].event_timestamps[0]
    assert (stamp.seconds, stamp.nanos) == (int(moment.timestamp()), 500_123_000)


async def test_asynchronous_writes_keep_the_order_too(store: Any) -> None:
    if not store._get_provider().async_supported.online.write:
        pytest.skip("Feast writes SQLite synchronously only")
    for n, moment in ((1, NOW), (2, NOW - MICROSECOND), (3, NOW), (4, NOW - MICROSECOND)):
        frame = pd.DataFrame([{"user": "u", "n": n, "text": str(n), "ts": moment}])
        await store.write_to_online_store_async("counts", frame)
    assert read(store, "u") == [3]


def _writer(folder: Path, seed: int, users: int, writes: int) -> None:
    """Writes rows whose value is their moment, in random order."""
    store = open_store(folder)
    chance = random.Random(seed)
    for _ in range(writes):
        rows = []
        for user in range(users):
            n = chance.randrange(1000)
            rows.append((f"u{user}", n, NOW + n * MICROSECOND))
        write(store, *rows)


@pytest.mark.services
def test_two_writers_at_once_leave_the_newest(store: Any) -> None:
    """The value tells its moment, so the largest that anybody wrote must be there in the end."""
    users, writes, seeds = 20, 30, (1, 2)
    newest = [0] * users
    for seed in seeds:
        chance = random.Random(seed)
        for _ in range(writes):
            for user in range(users):
                newest[user] = max(newest[user], chance.randrange(1000))
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=_writer, args=(store.repo_path, seed, users, writes)) for seed in seeds
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [w.exitcode for w in writers] == [0, 0]
    assert read(store, *(f"u{u}" for u in range(users))) == newest


def test_a_feature_that_came_later_is_not_found_rather_than_null(
    store: Any, tmp_path: Path
) -> None:
    write(store, ("u", 1, NOW))
    view = store.get_feature_view("counts")
    wider = FeatureView(
        name="counts",
        entities=[store.get_entity("user")],
        schema=[*view.features, Field(name="later", dtype=Int64)],
        source=FileSource(name="t", path=str(tmp_path / "t.parquet"), timestamp_field="ts"),
    )
    store.apply([wider])
    answer = store.get_online_features(["counts:n", "counts:later"], {"user": ["u"]}).proto
    statuses = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
    assert list(statuses["n"].statuses) == [FieldStatus.PRESENT]
    assert list(statuses["later"].statuses) == [FieldStatus.NOT_FOUND]


def test_vector_search_is_refused_where_there_is_none(tmp_path: Path) -> None:
    config = {**online("sqlite", ""), "vector_enabled": True}
    with pytest.raises(Exception, match="no vector search"):
        create_store(tmp_path, config, {"type": "duckdb"}, REGISTRY)
