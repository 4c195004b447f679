"""Redis asked once, gone, slow, and back without its content."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis as redis_py
from feast.types import Float64, Int64

from feature_repo.sources import Frame
from serving.features.errors import FeaturesUnavailableError
from tests.feature_repo.stores import materialization
from tests.serving.features.redis_server import RedisServer
from tests.serving.features.stores import ITEM, USER, client_of, make_store, online, view, write

NO_MEMORY = "gateway.feature_client.memory=null"
BOTH = ["counts:n", "spend:total"]


def fill(folder: Path, server: RedisServer) -> None:
    store = make_store(
        folder,
        online("redis", server.address),
        view("counts", USER, {"n": Int64}),
        view("spend", USER, {"total": Float64}),
        view("prices", ITEM, {"price": Float64}),
    )
    now = datetime.now(UTC)
    users = [{"user_id": f"u{n}", "n": n, "total": n / 2, "ts": now} for n in range(300)]
    write(store, "counts", users)
    write(store, "spend", users)
    write(store, "prices", [{"item_id": n, "price": n / 4, "ts": now} for n in range(300)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Path:
    made = tmp_path_factory.mktemp("redis_store")
    fill(made, redis)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[RedisServer, Path]]:
    """A server that the test may harm, and a store on it."""
    server = RedisServer(tmp_path)
    fill(tmp_path / "store", server)
    yield server, tmp_path / "store"
    server.go_on()
    server.kill()


async def test_all_views_of_a_key_take_one_command(folder: Path, redis: RedisServer) -> None:
    client = client_of(folder, NO_MEMORY)
    await client.open()
    await client.read(BOTH, {"user_id": ["u0"]})  # connects
    before = redis.calls()
    found = await client.read(BOTH, {"user_id": ["u7"]})
    after = redis.calls()
    assert found.values == [[7], [3.5]]
    new = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
    assert {k for k in new if k not in ("info", "client", "hello", "ping")} == {"hmget"}, new
    assert new["hmget"] == 1
    await client.close()


async def test_many_keys_of_two_entities_take_one_round_trip(
    folder: Path, redis: RedisServer
) -> None:
    """What the client writes lies between two replies: one write for all of it."""
    client = client_of(folder, NO_MEMORY)
    await client.open()
    names = [*BOTH, "prices:price"]
    keys: dict[str, list[Any]] = {
        "user_id": [f"u{n % 3}" for n in range(200)],
        "item_id": list(range(200)),
    }
    await client.read(names, keys)
    reader: Any = client.reader
    (connection,) = reader._free
    writes = []
    send = connection.send_packed_command

    async def counted(command: bytes, **more: Any) -> None:
        writes.append(command)
        await send(command, **more)

    connection.send_packed_command = counted
    before = redis.calls()["hmget"]
    found = await client.read(names, keys)
    assert len(writes) == 1
    assert redis.calls()["hmget"] - before == 203, "each user once, each item once"
    assert found.values[0] == [n % 3 for n in range(200)]
    assert found.values[2] == [n / 4 for n in range(200)]
    await client.close()


async def test_connections_are_bounded_and_reads_do_not_mix(folder: Path) -> None:
    client = client_of(folder, NO_MEMORY, "gateway.feature_client.readers.redis.connections=3")
    await client.open()
    found = await asyncio.gather(
        *(client.read(BOTH, {"user_id": [f"u{n}", f"u{n + 1}"]}) for n in range(100))
    )
    assert [f.values for f in found] == [[[n, n + 1], [n / 2, n / 2 + 0.5]] for n in range(100)]
    reader: Any = client.reader
    assert len(reader._free) <= 3
    await client.close()


async def test_a_caller_that_gives_up_leaves_no_reply_for_the_next(folder: Path) -> None:
    client = client_of(folder, NO_MEMORY)
    await client.open()
    for n in range(20):
        task = asyncio.create_task(client.read(BOTH, {"user_id": [f"u{m}" for m in range(200)]}))
        for _ in range(n):
            await asyncio.sleep(0)
        task.cancel()
        found = await client.read(BOTH, {"user_id": [f"u{n}"]})
        assert found.values == [[n], [n / 2]]
        await asyncio.gather(task, return_exceptions=True)
    await client.close()


@pytest.mark.services
async def test_a_killed_redis_is_an_error_and_a_new_one_is_used_at_once(
    own: tuple[RedisServer, Path],
) -> None:
    server, folder = own
    client = client_of(folder, NO_MEMORY)
    await client.open()
    await asyncio.gather(*(client.read(BOTH, {"user_id": ["u1"]}) for _ in range(5)))
    server.kill()
    for _ in range(2):
        with pytest.raises(FeaturesUnavailableError, match=f"Redis at {server.address} failed"):
            await client.read(BOTH, {"user_id": ["u1"]})
    server.start()
    found = await client.read(BOTH, {"user_id": ["u1"]})
    assert found.statuses == [["NOT_FOUND"], ["NOT_FOUND"]], "restarted empty: says so"
    fill(folder, server)
    assert (await client.read(BOTH, {"user_id": ["u1"]})).values == [[1], [0.5]]
    await client.close()


@pytest.mark.services
async def test_a_restart_between_two_reads_goes_unnoticed(own: tuple[RedisServer, Path]) -> None:
    server, folder = own
    client = client_of(folder, NO_MEMORY)
    await client.open()
    await asyncio.gather(*(client.read(BOTH, {"user_id": ["u1"]}) for _ in range(5)))
    server.kill()
    server.start()
    fill(folder, server)
    assert (await client.read(BOTH, {"user_id": ["u1"]})).values == [[1], [0.5]]
    await client.close()


@pytest.mark.services
async def test_a_slow_redis_is_an_error_within_the_timeout(own: tuple[RedisServer, Path]) -> None:
    server, folder = own
    client = client_of(
        folder, NO_MEMORY, "gateway.feature_client.readers.redis.timeout_s=0.3",
        "gateway.feature_client.readers.redis.connections=2",
    )  # fmt: skip
    await client.open()
    await client.read(BOTH, {"user_id": ["u1"]})
    server.stop()
    started = time.perf_counter()
    reads = [client.read(BOTH, {"user_id": [f"u{n}"]}) for n in range(6)]
    failed = await asyncio.gather(*reads, return_exceptions=True)
    seconds = time.perf_counter() - started
    assert [type(f) for f in failed] == [FeaturesUnavailableError] * 6
    assert "did not answer in 0.3 s" in str(failed[0])
    assert seconds < 3, "those that wait for a connection have the same deadline"
    server.go_on()
    reads = [client.read(BOTH, {"user_id": [f"u{n}"]}) for n in range(6)]
    assert [f.values[0] for f in await asyncio.gather(*reads)] == [[n] for n in range(6)]
    await client.close()


@pytest.mark.services
async def test_materialization_repairs_an_empty_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    base = datetime(2026, 1, 1, tzinfo=UTC)
    touched = pl.DataFrame(
        {
            "user_id": ["u1", "u1", "u2"],
            "item_id": ["a", "b", "c"],
            "timestamp": [base + timedelta(minutes=n) for n in range(3)],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    store = tmp_path / "store"
    materialize = materialization(store, online=online("redis", server.address))
    tables = {"interactions": Frame(touched.to_arrow())}
    materialize(tables)
    client = client_of(store)
    await client.open()
    names = ["user_history:item_ids"]
    assert (await client.read(names, {"user_id": ["u1"]})).values == [[["a", "b"]]]
    server.kill()
    server.start()
    lost = await client.read(names, {"user_id": ["u1"]})
    assert lost.statuses == [["NOT_FOUND"]]
    summary = materialize(tables)
    assert summary["user_history"]["repaired"]
    assert (await client.read(names, {"user_id": ["u1"]})).values == [[["a", "b"]]]
    await client.close()
    server.kill()


@pytest.mark.services
async def test_password_and_database_of_the_connection_string_are_used(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with redis_py.Redis(port=server.port) as admin:
        admin.config_set("requirepass", "secret")
    address = f"{server.address},db=3,password=secret"
    store = make_store(tmp_path / "store", online("redis", address), view("c", USER, {"n": Int64}))
    write(store, "c", [{"user_id": "u", "n": 5, "ts": datetime.now(UTC)}])
    client = client_of(tmp_path / "store")
    await client.open()
    assert (await client.read(["c:n"], {"user_id": ["u"]})).values == [[5]]
    await client.close()
    server.kill()
