"""A job with a handler that fails in every way, on a real Redis and on Kafka's protocol."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.streaming.attempts import HandlerError
from pipelines.streaming.events import EventReader, message
from pipelines.streaming.job import StreamJob
from pipelines.streaming.kafka import KafkaSource
from pipelines.streaming.redis import RedisSource
from pipelines.streaming.source import Source
from tests.feature_repo.streaming import market
from tests.scripts import streams
from tests.scripts.streams import RedisServer


class Recorder:
    """Keeps what it was given; fails as it is told."""

    outages = (ConnectionError,)

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.batches: list[int] = []
        self.fails: Callable[[list[str]], Exception | None] = lambda _: None
        self.closed = threading.Event()

    def open(self) -> None: ...

    def maintain(self) -> None: ...

    def close(self) -> None:
        self.closed.set()

    def handle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        names = [row["message_id"] for row in rows]
        error = self.fails(names)
        if error is not None:
            raise error
        self.seen += names
        self.batches.append(len(names))


def make_job(source: Source, handler: Recorder, **settings: Any) -> StreamJob:
    defaults: dict[str, Any] = {
        "most_entries": 100, "wait_s": 0.1, "gather_s": 0.0, "attempts": 2, "max_failures": 3,
        "max_deliveries": 3, "backoff_s": 0.01, "longest_backoff_s": 0.05, "maintain_s": 0.1,
        "report_s": 0.1, "metrics_port": None, "metrics_host": "127.0.0.1",
    }  # fmt: skip
    return StreamJob(source=source, reader=EventReader(), handler=handler, **defaults | settings)


async def until(job: StreamJob, done: Callable[[], bool], seconds: float = 120) -> None:
    """Run a job until something is true, then stop it as SIGTERM does."""
    task = asyncio.create_task(job._run())
    for _ in range(int(seconds / 0.02)):
        if done() or task.done():
            break
        await asyncio.sleep(0.02)
    job._stopping.set()
    await task
    assert done()


def payload(n: int) -> bytes:
    return json.dumps(message(market.event(n, "ann", "lamp", market.midnight()))).encode()


def name(n: int) -> str:
    return f"m{n:07d}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path_factory.mktemp("redis"))
    yield found
    found.kill()


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with streams.kafka() as (servers, _):
        yield servers


@pytest.fixture(params=["redis", "kafka"])
def source(request: pytest.FixtureRequest) -> Source:
    stream = "".join(c if c.isalnum() else "-" for c in request.node.name)
    if request.param == "redis":
        url = request.getfixturevalue("server").url
        return RedisSource(url, stream, "g", claim_after_s=1.0, keep_s=0.0, timeout_s=5.0)
    servers = request.getfixturevalue("kafka")
    return KafkaSource(servers, stream, "g", timeout_s=20.0, replay_wait_s=3.0)


async def test_everything_is_handled_and_a_second_job_has_nothing_to_do(source: Source) -> None:
    await source.send([payload(n) for n in range(50)])
    handler = Recorder()
    job = make_job(source, handler, most_entries=7)
    await until(job, lambda: job._handled == 50)
    assert sorted(handler.seen) == [name(n) for n in range(50)]
    assert max(handler.batches) <= 7
    assert handler.closed.is_set()


async def test_an_outage_is_waited_out(source: Source) -> None:
    await source.send([payload(1), payload(2)])
    handler = Recorder()
    left = iter(range(10))
    handler.fails = lambda _: ConnectionError("away") if next(left, None) is not None else None
    await until(make_job(source, handler), lambda: len(handler.seen) == 2)
    assert sorted(handler.seen) == [name(1), name(2)]  # partitions have no order between them


async def test_a_message_that_cannot_be_handled_is_buried_alone_and_can_be_replayed(
    source: Source,
) -> None:
    await source.send([payload(n) for n in range(20)])
    handler = Recorder()
    handler.fails = lambda names: KeyError("no such thing") if name(13) in names else None
    job = make_job(source, handler)
    await until(job, lambda: job._handled == 19)
    assert sorted(handler.seen) == [name(n) for n in range(20) if n != 13]
    again = fresh(source)
    (letter,) = await again.dead_letters(10)
    assert letter.reason == "the handler failed: KeyError('no such thing')"
    assert json.loads(letter.payload)["messageId"] == name(13)
    assert await again.replay() == 1
    handler.fails = lambda _: None
    await until(make_job(again, handler), lambda: name(13) in handler.seen)


async def test_a_handler_that_fails_on_everything_ends_the_job_and_loses_nothing(
    source: Source,
) -> None:
    await source.send([payload(n) for n in range(20)])
    handler = Recorder()
    handler.fails = lambda _: ValueError("broken")
    with pytest.raises(HandlerError, match=r"4 messages in a row .*broken"):
        await make_job(source, handler)._run()
    handler.fails = lambda _: None
    await until(make_job(fresh(source), handler), lambda: len(set(handler.seen)) == 20)


def fresh(source: Source) -> Source:
    """The same stream and group, another consumer: a job's clients do not outlive it."""
    if isinstance(source, RedisSource):
        url = f"redis://{source.shown}"
        made = RedisSource(url, source.name, "g", claim_after_s=1.0, keep_s=0.0, timeout_s=5.0)
        made.consumer = "another"
        return made
    assert isinstance(source, KafkaSource)
    return KafkaSource(source.servers, source.name, "g", timeout_s=20.0, replay_wait_s=3.0)


async def test_redis_entries_that_kill_their_consumers_are_buried(server: RedisServer) -> None:
    source = RedisSource(server.url, "killer", "g", claim_after_s=0.05, keep_s=0.0, timeout_s=5.0)
    await source.open()
    await source.send([payload(1)])
    for n in range(4):  # consumers that read it and are never heard of again
        source.consumer = f"dead-{n}"
        await asyncio.sleep(0.06)
        assert await source.read(1, 0.1)
    source.consumer = "alive"
    await asyncio.sleep(0.06)
    handler = Recorder()
    job = make_job(source, handler)
    await until(job, lambda: server.client.xlen("killer:dead") == 1)
    assert handler.seen == []
    (fields,) = (fields for _, fields in server.client.xrange("killer:dead"))
    assert "delivered 5 times, and never acknowledged" in fields[b"data"].decode()


async def test_redis_forgets_what_all_groups_have_done_with(server: RedisServer) -> None:
    one = RedisSource(server.url, "trimmed", "one", claim_after_s=60, keep_s=-1.0, timeout_s=5.0)
    two = RedisSource(server.url, "trimmed", "two", claim_after_s=60, keep_s=-1.0, timeout_s=5.0)
    await one.open()
    await two.open()
    await one.send([payload(n) for n in range(500)])
    await one.acknowledge(await one.read(500, 0.1))
    await one.tidy()
    assert server.client.xlen("trimmed") == 500, "the other group has read nothing"
    found = await two.read(500, 0.1)
    await two.acknowledge(found[:250])
    await two.tidy()
    assert 250 <= server.client.xlen("trimmed") <= 400
    await two.acknowledge(found[250:])
    await two.tidy()
    assert server.client.xlen("trimmed") < 150  # Redis trims whole nodes
    await one.close()
    await two.close()


async def test_a_redis_that_comes_back_empty_is_read_from_its_beginning(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    source = RedisSource(server.url, "events", "g", claim_after_s=60, keep_s=0.0, timeout_s=5.0)
    await source.open()
    server.client.flushall()
    await source.send([payload(1)])
    assert await source.read(10, 0.1) == []
    (entry,) = await source.read(10, 0.1)
    assert entry.payload == payload(1)
    await source.close()
    server.kill()
