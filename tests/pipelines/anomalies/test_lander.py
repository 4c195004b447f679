"""Landing beside the batches: slow files, full memory, failures, and deaths on the way."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.anomalies.brokers.redis import RedisBroker
from pipelines.anomalies.commits import CommitStore
from pipelines.anomalies.landing import LandedTable
from pipelines.anomalies.processor import Processor
from tests.pipelines.anomalies.parts import detector, telemetry
from tests.pipelines.anomalies.processors import PARTITIONS, processor, running, until
from tests.scripts.streams import RedisServer

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture
def broker(request: pytest.FixtureRequest, server: RedisServer) -> Callable[[], RedisBroker]:
    settings = (10**6, 10**4, 10**5, 5)
    name = request.node.name
    return lambda: RedisBroker(server.url, name, PARTITIONS, f"{name}-found", *settings)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Files are written only while it is open."""
    opened, land = threading.Event(), LandedTable.land

    def slow(*arguments: Any) -> None:
        assert opened.wait(60)
        land(*arguments)

    monkeypatch.setattr(LandedTable, "land", slow)
    yield opened
    opened.set()


async def send(broker: RedisBroker, events: list[dict[str, Any]], per_entry: int = 20) -> None:
    entries = [events[n : n + per_entry] for n in range(0, len(events), per_entry)]
    await broker.send([json.dumps(entry).encode() for entry in entries])


def assert_landed_once(root: Path, events: list[dict[str, Any]]) -> None:
    sent = pl.DataFrame(events)
    moment = pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us")
    wanted = sent.select("source", moment).sort("source", "timestamp")
    for table in ("scores", "telemetry"):
        files = list((root / table).rglob("*"))
        assert not [f for f in files if f.name.startswith(".")], "no temporary files stay"
        rows = [pl.read_parquet(f, hive_partitioning=False) for f in files if f.is_file()]
        got = pl.concat(rows).select("source", "timestamp").sort("source", "timestamp")
        assert got.equals(wanted), table


def rows(made: Processor) -> int:
    return max((h.rows for h in made.workload.held.values()), default=0)


async def test_events_are_scored_while_files_are_written(
    tmp_path: Path, broker: Callable[[], RedisBroker], gate: threading.Event
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(800, 8)
    sender = broker()
    async with running(processor(broker(), tmp_path, land_s=0.1)) as made:
        await send(sender, events[:200])
        await until(lambda: made._lander._writing is not None, "a landing")
        await send(sender, events[200:])
        await until(lambda: made._handled == 800, "all events, with no file written")
        assert not list(tmp_path.rglob("*.parquet"))
        gate.set()
        await until(lambda: rows(made) == 0, "all landed")
    await sender.close()
    assert_landed_once(tmp_path, events)


async def test_reading_waits_where_files_are_written_too_slowly(
    tmp_path: Path, broker: Callable[[], RedisBroker], gate: threading.Event
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(4000, 8)
    sender = broker()
    await send(sender, events)
    pace = {"most_events": 200}
    made = processor(broker(), tmp_path, land_s=3600, land_rows=150, pace=pace)
    async with running(made):
        await until(lambda: made.workload.full(), "so many rows that no more may come")
        await asyncio.sleep(0.5)
        handled = made._handled
        assert handled < 4000
        await asyncio.sleep(0.5)
        assert made._handled == handled, "the rest waits in the broker"
        assert rows(made) <= 2 * 150 + 400
        gate.set()
        await until(lambda: made._handled == 4000, "all events")
    await sender.close()
    assert_landed_once(tmp_path, events)


async def test_a_warehouse_that_cannot_be_written_is_waited_for(
    tmp_path: Path, broker: Callable[[], RedisBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores land, telemetry does not: what is begun again holds more, each row once."""
    detector(tmp_path / "artifacts")
    events = telemetry(600, 8)
    sender = broker()
    await send(sender, events[:300])
    land = LandedTable.land

    def full(self: LandedTable, *arguments: Any) -> None:
        if self.folder.name == "telemetry":
            raise OSError("no space left")
        land(self, *arguments)

    made = processor(broker(), tmp_path, land_s=0.1)
    failures = made.metrics.failures.labels("store")._value
    with monkeypatch.context() as patched:
        patched.setattr(LandedTable, "land", full)
        async with running(made):
            await until(lambda: failures.get() > 3, "the full disk")
            await send(sender, events[300:])
            patched.undo()
            await until(lambda: made._handled == 600 and rows(made) == 0, "all landed")
    await sender.close()
    assert_landed_once(tmp_path, events)


async def test_who_dies_between_its_files_and_the_store_leaves_nothing_twice(
    tmp_path: Path, broker: Callable[[], RedisBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many files that they would be merged: with those that the heir lands again."""
    detector(tmp_path / "artifacts")
    events = telemetry(900, 8)
    sender = broker()
    tables = {
        n: LandedTable(tmp_path / n, most_files=1, small_mb=16) for n in ("scores", "telemetry")
    }

    def forgotten(*_: Any) -> None:
        raise OSError("killed here")

    first = processor(broker(), tmp_path, land_s=0.1, **tables)
    async with running(first):
        await send(sender, events[:300])
        await until(lambda: first._handled == 300 and rows(first) == 0, "the first landing")
        monkeypatch.setattr(CommitStore, "land", forgotten)
        await send(sender, events[300:600])
        failures = first.metrics.failures.labels("store")._value
        await until(lambda: failures.get() > 0, "files that the store does not know")
    monkeypatch.undo()
    heir = processor(broker(), tmp_path, land_s=0.1, **tables)
    async with running(heir):
        await send(sender, events[600:])
        await until(lambda: first._handled + heir._handled == 900, "the rest")
        await until(lambda: heir.workload.held and rows(heir) == 0, "all landed")
    await sender.close()
    assert_landed_once(tmp_path, events)
