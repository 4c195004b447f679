"""An online store that is away or stuck while something is written to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_repo.gateway_pushes import Terms, push
from feature_repo.online.outage import OnlineStoreError, place
from feature_repo.online.redis import RedisOnlineStore
from feature_repo.sources import Frame
from feature_repo.store import open_store
from tests.feature_repo.stores import materialization
from tests.serving.features.redis_server import RedisServer

HURRY = "socket_timeout=0.2,password=secret"
ROW = {
    "user_id": "eve",
    "item_ids": ["i1"],
    "length": 1,
    "event_timestamp": "2026-01-02T00:00:00Z",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    try:
        yield made
    finally:
        made.go_on()
        made.kill()


def online(server: RedisServer, *options: str) -> dict[str, str]:
    return {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": ",".join([server.address, *options]),
    }


def table() -> dict[str, Frame]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame({"user_id": ["ann"], "item_id": ["i1"], "timestamp": [moment]})
    typed = rows.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    return {"interactions": Frame(typed.to_arrow())}


def length(folder: Path, user: str) -> int | None:
    answer = open_store(folder).get_online_features(["user_history:length"], [{"user_id": user}])
    found: list[int | None] = answer.to_dict()["length"]
    return found[0]


def test_materialization_names_what_is_away_and_goes_on_later(
    server: RedisServer, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    server.kill()
    with pytest.raises(OnlineStoreError, match=f"Redis at {server.address}: .*refused.*again") as e:
        materialization(folder, online=online(server))(table())
    assert e.value.exit_code == 69
    server.start()
    materialization(folder, online=online(server))(table())
    assert length(folder, "ann") == 1, "what was computed before is published now"


def test_a_push_to_a_stuck_store_ends_and_may_be_sent_again(
    server: RedisServer, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    materialization(folder, online=online(server, "socket_timeout=0.2"))(table())
    server.stop()
    began = time.monotonic()
    with pytest.raises(OnlineStoreError, match=f"Redis at {server.address}: .*push them again"):
        push(str(folder), "user_history", [ROW], Terms())
    assert time.monotonic() - began < 60, "nobody waits for ever"
    server.go_on()
    assert push(str(folder), "user_history", [ROW], Terms()).accepted == 1
    assert length(folder, "eve") == 1


def test_commands_have_a_limit_unless_another_is_given() -> None:
    nodes, limits = RedisOnlineStore._parse_connection_string("redis:6379,db=1")
    assert nodes == [{"host": "redis", "port": "6379"}]
    assert limits == {"socket_timeout": 5, "socket_connect_timeout": 5, "db": 1}
    _, limits = RedisOnlineStore._parse_connection_string("redis:6379,socket_timeout=30")
    assert limits["socket_timeout"] == 30


def test_a_password_is_not_told(server: RedisServer) -> None:
    class Config:
        connection_string = f"{server.address},{HURRY}"

    assert place(Config()) == f"Redis at {server.address}"
