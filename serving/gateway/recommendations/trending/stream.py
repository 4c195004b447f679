"""Trending by the events themselves, as they arrive in a Redis stream."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.resources import Resources

log = logging.getLogger(__name__)

_BLOCK_MS = 1000  # that one read of the stream waits for events
_RETRY_S = 1.0


class StreamCounts:
    """Each event counts ½ ^ (its age / half-life), from its arrival in the stream.

    Every gateway reads the whole stream by itself and beside the consumer groups, from `back_s`
    ago; what Redis has trimmed is not counted. While Redis is away, counts go on ageing.

    Args:
        url: of Redis.
        stream: its name.
        events: names of those that count.
        half_life_s: after which an event counts half.
        k: items ranked.
        max_items: counted at once; the least counted are forgotten.
        entries: read at once.
    """

    def __init__(
        self,
        resources: Resources,
        url: str,
        stream: str,
        events: Sequence[str],
        half_life_s: float,
        back_s: float,
        k: int,
        max_items: int,
        entries: int,
    ) -> None:
        self.stream = stream
        self.events = frozenset(events)
        self.rate = math.log(2) / half_life_s
        self.back_s = back_s
        self.k = k
        self.max_items = max_items
        self.entries = entries
        # Counts are kept as of `_since`, so that ageing touches none of them (forward decay,
        # Cormode et al., ICDE 2009).
        self._since = time.time()
        self._counts: dict[str, float] = {}
        self._redis = Redis.from_url(url)
        self._task: asyncio.Task[None] | None = None

    def ranked(self) -> Ranking:
        age = math.exp(-self.rate * (time.time() - self._since))
        best = sorted(self._counts, key=lambda item: -self._counts[item])[: self.k]
        return Ranking(best, [self._counts[item] * age for item in best])

    async def open(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._redis.aclose()

    async def _follow(self) -> None:
        last = f"{int((time.time() - self.back_s) * 1000)}-0"
        while True:
            try:
                read = await self._redis.xread(
                    {self.stream: last}, count=self.entries, block=_BLOCK_MS
                )
            except (RedisError, OSError) as error:
                log.warning("stream %s cannot be read: %s", self.stream, error)
                await asyncio.sleep(_RETRY_S)
                continue
            for _, entries in read:
                for key, fields in entries:
                    last = key.decode()
                    self._count(int(last.partition("-")[0]) / 1000, fields.get(b"data", b""))
            await asyncio.sleep(0)

    def _count(self, moment: float, data: bytes) -> None:
        weight = math.exp(self.rate * (moment - self._since))
        for item in self._items(data):
            self._counts[item] = self._counts.get(item, 0.0) + weight
        if len(self._counts) > 2 * self.max_items:
            self._forget()

    def _forget(self) -> None:
        """Keep the most counted, and count from now on, before numbers grow too large."""
        now = time.time()
        age = math.exp(-self.rate * (now - self._since))
        best = sorted(self._counts, key=lambda item: -self._counts[item])[: self.max_items]
        self._counts = {item: self._counts[item] * age for item in best}
        self._since = now

    def _items(self, data: bytes) -> Iterator[str]:
        """Items of the events in one entry; malformed ones are for the stream's jobs to refuse."""
        try:
            content: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        for event in content if isinstance(content, list) else [content]:
            name = event.get("event") if isinstance(event, dict) else None
            if not isinstance(name, str) or name not in self.events:
                continue
            properties = event.get("properties")
            if not isinstance(properties, dict):
                continue
            products = properties.get("products")
            for product in products if isinstance(products, list) else [properties]:
                item = product.get("product_id") if isinstance(product, dict) else None
                if isinstance(item, str) and item:
                    yield item
