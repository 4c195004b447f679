"""Events in a real Redis stream: trends from them, and their users' next answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from scripts.entrypoint import CONFIGS
from serving.gateway.recommendations.trending.stream import StreamCounts
from tests.feature_repo.streaming import market
from tests.scripts.streams import Job, RedisServer, wait_until
from tests.serving.gateway.conftest import Upstream, gateway_config, running
from tests.serving.gateway.recommendations.conftest import ask, items

pytestmark = [pytest.mark.services]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    found = RedisServer(folder)
    yield found
    found.client.close()
    found.kill()


def event(n: int, user: str, item: str, name: str = "Product Viewed") -> bytes:
    content = {
        "messageId": f"fresh-{n}",
        "type": "track",
        "event": name,
        "userId": user,
        "properties": {"product_id": item},
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return json.dumps(content).encode()


def counts(server: RedisServer, **changes: float) -> StreamCounts:
    settings = OmegaConf.load(CONFIGS / "gateway/recommendations/trending/stream.yaml")
    del settings["_target_"]
    given = {str(k): v for k, v in settings.items()} | {"url": server.url} | changes
    return StreamCounts(None, **given)  # type: ignore[arg-type]


async def until(true: object, what: str) -> None:
    end = time.monotonic() + 30
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


async def test_events_are_counted_as_they_arrive_and_from_before(server: RedisServer) -> None:
    server.send([event(1, "u1", "early")])
    trending = counts(server)
    await trending.open()
    await until(lambda: trending.ranked().items == ["early"], "what was there is counted")
    bought = {"event": "Order Completed", "properties": {"products": [
        {"product_id": "a"}, {"product_id": "b"}, {"price": 1}, "odd"]}}  # fmt: skip
    malformed = [b"{", b"7", b'[{"event": "Product Viewed"}]', b'{"event": ["odd"]}']
    server.send([event(2, "u2", "a"), *malformed, json.dumps([bought, 5]).encode()])
    await until(lambda: len(trending.ranked().items) == 3, "all of an order are counted")
    assert trending.ranked().items[0] == "a"
    assert trending.ranked().scores[0] == pytest.approx(2, abs=0.05)
    await trending.close()


async def test_old_events_count_less_and_are_forgotten_last(server: RedisServer) -> None:
    now = int(time.time() * 1000)
    for n, (age_s, item) in enumerate([*[(7200, "old")] * 3, (0, "new")], 1):
        server.client.xadd("events", {"data": event(0, "u", item)}, id=f"{now - age_s * 1000}-{n}")
    trending = counts(server, half_life_s=3600, max_items=1)
    await trending.open()
    await until(lambda: len(trending.ranked().items) == 2, "both are there")
    ranked = trending.ranked()
    assert ranked.items == ["new", "old"], "one now is more than three two half-lives ago"
    assert ranked.scores == pytest.approx([1.0, 0.75], abs=0.02)
    server.send([event(1, "u", "third")])
    await until(lambda: "old" not in trending.ranked().items, "the least counted are forgotten")
    assert trending.ranked().scores[0] == pytest.approx(1.0, abs=0.02), "ageing is kept"
    await trending.close()


async def test_without_redis_trends_go_on_and_come_back(server: RedisServer) -> None:
    server.send([event(1, "u1", "a")])
    trending = counts(server)
    await trending.open()
    await until(lambda: trending.ranked().items == ["a"], "it is counted")
    server.kill()
    await asyncio.sleep(0.2)
    assert trending.ranked().items == ["a"]
    server.start()
    server.send([event(2, "u1", "b")])
    await until(lambda: "b" in trending.ranked().items, "it reads on")
    await trending.close()


async def test_an_event_in_the_stream_is_in_the_same_users_next_answer(
    server: RedisServer, with_neighbours: Path, upstream: Upstream, tmp_path: Path
) -> None:
    """Through stream, job and online store, although the gateway keeps answers for a minute."""
    root = tmp_path / "project"
    rows = [market.event(n, f"u{n}", f"i{n:02d}", market.midnight()) for n in range(5)]
    market.write_warehouse(root / "data" / "warehouse", rows)
    market.materialize(root)
    config = gateway_config(with_neighbours, root / "data" / "features", upstream.port, tmp_path)
    job = Job(root, f"stream.broker.url={server.url}")
    wait_until(lambda: "started" in job.said(), "the job")
    try:
        async with running(config) as session:
            first = await ask(session, "/recommend?user_id=u3&n=2")
            assert items(first) == ["i04", "i05"]
            kept = await ask(session, "/recommend?user_id=u3&n=2")
            assert (kept["source"], items(kept)) == ("cache", ["i04", "i05"])
            server.send([event(1, "u3", "i30")])
            answer = kept
            end = time.monotonic() + 30
            while items(answer) != ["i31", "i32"]:
                assert time.monotonic() < end, (answer, job.said())
                await asyncio.sleep(0.02)
                answer = await ask(session, "/recommend?user_id=u3&n=2")
            named = [reason["item_id"] for reason in answer["items"][0]["reasons"]]
            assert named == ["i30"], "because of what was viewed just now"
            other = await ask(session, "/recommend?user_id=u4&n=2")
            assert items(other) == ["i05", "i06"]
    finally:
        job.kill()
