"""Features of items kept in the process: loaded, refreshed, bounded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast.types import Array, Float64, Int64, String

from serving.features.client import FeatureClient
from serving.features.errors import FeaturesUnavailableError
from serving.features.memory import Memory
from tests.serving.features.redis_server import RedisServer
from tests.serving.features.stores import (
    ITEM,
    USER,
    client_of,
    make_store,
    online,
    view,
    write,
)

SCHEMA = {"price": Float64, "sold": Int64, "title": String, "tags": Array(String)}
NAMES = [f"things:{name}" for name in SCHEMA]
NEVER = "gateway.feature_client.memory.refresh_s=3600"


def row(item: int, price: float | None = None, age: timedelta = timedelta(0)) -> dict[str, Any]:
    return {
        "item_id": item, "price": item / 2 if price is None else price, "sold": item * 1000,
        "title": f"thing {item}", "tags": ["a", str(item)], "ts": datetime.now(UTC) - age,
    }  # fmt: skip


@pytest.fixture(params=["redis", "sqlite", "sdk"])
def store(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Any:
    """Items 0…19; a project of its own would be needed to share a Redis, so each test clears it."""
    import redis as redis_py

    with redis_py.Redis(port=redis.port) as admin:
        admin.flushall()
    made = make_store(
        tmp_path,
        online(request.param, redis.address),
        view("things", ITEM, SCHEMA),
        view("recent", ITEM, {"views": Int64}, ttl=timedelta(hours=1)),
        view("people", USER, {"n": Int64}),
    )
    write(made, "things", [row(n) for n in range(20)])
    write(made, "people", [{"user_id": "u", "n": 3, "ts": datetime.now(UTC)}])
    return made


def memory(client: FeatureClient) -> Memory:
    assert client.memory is not None
    return client.memory


def wanted(items: list[int]) -> list[list[Any]]:
    rows = [row(n) for n in items]
    return [[r[name] for r in rows] for name in SCHEMA]


def without_reads(client: FeatureClient) -> None:
    """From now on a read of the store is a failure."""

    async def read(lookups: Any) -> Any:
        raise FeaturesUnavailableError("the store was asked")

    client.reader.read = read  # type: ignore[method-assign]


async def test_items_are_answered_from_memory(store: Any, tmp_path: Path) -> None:
    client = client_of(tmp_path, NEVER)
    await client.open()
    listed = "type: sqlite\n" not in (tmp_path / "feature_store.yaml").read_text()
    assert memory(client).kept == {"item": 20 if listed else 0}
    await client.read(NAMES, {"item_id": list(range(20))})  # what cannot be listed is learnt
    await memory(client).refresh()
    assert memory(client).kept == {"item": 20}
    without_reads(client)
    found = await client.read(NAMES, {"item_id": [3, 19, 3]})
    assert found.values == wanted([3, 19, 3])
    assert [type(v[0]) for v in found.values] == [float, int, str, list]
    assert found.statuses == [["PRESENT"] * 3] * 4
    with pytest.raises(FeaturesUnavailableError):
        await client.read(["people:n"], {"user_id": ["u"]})
    await client.close()


async def test_misses_fall_back_to_the_store_and_are_kept(store: Any, tmp_path: Path) -> None:
    client = client_of(tmp_path, NEVER)
    await client.open()
    write(store, "things", [row(100), row(101)])
    found = await client.read(NAMES, {"item_id": [100, 5, 999, 101, 100]})
    for column, values in zip(found.values, wanted([100, 5, 999, 101, 100]), strict=True):
        assert column == [*values[:2], None, *values[3:]]
    assert found.statuses[0] == ["PRESENT", "PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]
    await memory(client).refresh()
    without_reads(client)
    assert (await client.read(NAMES, {"item_id": [100, 5]})).values == wanted([100, 5])
    with pytest.raises(FeaturesUnavailableError):
        await client.read(NAMES, {"item_id": [999]})
    await client.close()


async def test_values_change_by_refresh_in_the_background(store: Any, tmp_path: Path) -> None:
    client = client_of(tmp_path, "gateway.feature_client.memory.refresh_s=0.05")
    await client.open()
    await client.read(["things:price"], {"item_id": [4]})
    write(store, "things", [row(4, price=77.0)])
    for _ in range(200):
        found = await client.read(["things:price"], {"item_id": [4]})
        if found.values == [[77.0]]:
            break
        await asyncio.sleep(0.05)
    assert found.values == [[77.0]]
    await client.close()


async def test_a_failed_refresh_keeps_values_and_is_counted(
    store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(tmp_path, NEVER)
    await client.open()
    await client.read(NAMES, {"item_id": list(range(20))})
    await memory(client).refresh()
    read = client.reader.read
    without_reads(client)
    await memory(client).refresh()
    assert memory(client).refresh_failures == 1
    assert "features of item were not refreshed: the store was asked" in caplog.text
    assert (await client.read(NAMES, {"item_id": [3]})).values == wanted([3])
    client.reader.read = read  # type: ignore[method-assign]
    write(store, "things", [row(3, price=9.0)])
    await memory(client).refresh()
    assert (await client.read(["things:price"], {"item_id": [3]})).values == [[9.0]]
    await client.close()


async def test_memory_is_bounded(store: Any, tmp_path: Path) -> None:
    client = client_of(tmp_path, NEVER, "gateway.feature_client.memory.max_keys=7")
    await client.open()
    for _ in range(3):
        found = await client.read(NAMES, {"item_id": list(range(20))})
        assert found.values == wanted(list(range(20)))
        await memory(client).refresh()
        assert memory(client).kept == {"item": 7}
    await client.close()


async def test_what_is_in_memory_ages_too(store: Any, tmp_path: Path) -> None:
    write(store, "recent", [{"item_id": 1, "views": 5, "ts": datetime.now(UTC)}])
    old = datetime.now(UTC) - timedelta(hours=2)
    write(store, "recent", [{"item_id": 2, "views": 6, "ts": old}])
    client = client_of(tmp_path, NEVER)
    await client.open()
    for _ in range(2):
        found = await client.read(["recent:views", "things:sold"], {"item_id": [1, 2, 3]})
        assert found.statuses[0] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
        assert found.values == [[5, None, None], [1000, 2000, 3000]]
        await memory(client).refresh()
    await client.close()


async def test_a_store_that_is_away_at_the_start_is_found_later(
    tmp_path: Path,
) -> None:
    server = RedisServer(tmp_path)
    folder = tmp_path / "store"
    store = make_store(folder, online("redis", server.address), view("things", ITEM, SCHEMA))
    server.kill()
    client = client_of(folder, "gateway.feature_client.memory.refresh_s=0.05")
    await client.open()
    assert memory(client).refresh_failures == 1
    with pytest.raises(FeaturesUnavailableError):
        await client.read(NAMES, {"item_id": [1]})
    server.start()
    write(store, "things", [row(n) for n in range(5)])
    for _ in range(200):
        if memory(client).kept.get("item"):
            break
        await asyncio.sleep(0.05)
    assert (await client.read(NAMES, {"item_id": [1]})).values == wanted([1])
    await client.close()
    server.kill()


async def test_a_refresh_rests_between_its_reads(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers meanwhile gets many turns of the loop for each read, not one."""
    client = client_of(tmp_path, NEVER, "gateway.feature_client.memory.read_keys=1")
    await client.open()
    await client.read(NAMES, {"item_id": list(range(20))})
    await memory(client).refresh()
    read, reads = client.reader.read, []

    async def count(lookups: Any) -> Any:
        reads.append(lookups)
        await asyncio.sleep(0.002)  # as long as a read of a busy store
        return await read(lookups)

    monkeypatch.setattr(client.reader, "read", count)
    refresh = asyncio.create_task(memory(client).refresh())
    while not reads:
        await asyncio.sleep(0)
    for _ in range(40):
        await asyncio.sleep(0.001)
    assert len(reads) < 15, "a fifth of the time at most is work"
    await refresh
    assert len(reads) == 20
    await client.close()


async def test_rows_with_and_without_values_are_read_in_pieces(store: Any, tmp_path: Path) -> None:
    bare = {**row(50), "price": None, "sold": None, "tags": None}
    write(store, "things", [bare, {**bare, "item_id": 51, "price": 1.5}])
    client = client_of(tmp_path, NEVER, "gateway.feature_client.memory.read_keys=3")
    await client.open()
    await client.read(NAMES, {"item_id": [*range(20), 50, 51]})
    await memory(client).refresh()
    without_reads(client)
    found = await client.read(NAMES, {"item_id": [1, 50, 19, 51]})
    assert found.values == [
        [0.5, None, 9.5, 1.5], [1000, None, 19000, None],
        ["thing 1", "thing 50", "thing 19", "thing 50"], [["a", "1"], None, ["a", "19"], None],
    ]  # fmt: skip
    assert [type(v[0]) for v in found.values] == [float, int, str, list]
    assert [s[1] for s in found.statuses] == ["NULL_VALUE", "NULL_VALUE", "PRESENT", "NULL_VALUE"]
    await client.close()


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="share is 0; it must be above 0 and at most 1"):
        Memory(["item"], refresh_s=60, max_keys=10, read_keys=5, share=0)
