"""Caches of ranked candidates: in this process by default, in Redis to share them."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from typing import Protocol

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from serving.gateway.recommendations.slate import Slate

log = logging.getLogger(__name__)

_PREFIX = "millrace:slate:3:"  # another layout of what is kept gets another one


class Cache(Protocol):
    """What the recommender asks of a cache; a cache never raises, it misses."""

    async def get(self, key: str) -> Slate | None: ...

    async def put(self, key: str, slate: Slate) -> None: ...

    async def close(self) -> None: ...


class NoCache:
    """Every question goes to the model."""

    async def get(self, key: str) -> Slate | None:
        return None

    async def put(self, key: str, slate: Slate) -> None:
        return None

    async def close(self) -> None:
        return None


class MemoryCache:
    """Least recently used entries leave first; entries age out after `ttl_s` seconds."""

    def __init__(self, ttl_s: float, max_entries: int) -> None:
        self.ttl_s = ttl_s
        self.max_entries = max_entries
        self._entries: OrderedDict[str, tuple[float, Slate]] = OrderedDict()

    async def get(self, key: str) -> Slate | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    async def put(self, key: str, slate: Slate) -> None:
        self._entries[key] = (time.monotonic() + self.ttl_s, slate)
        self._entries.move_to_end(key)
        if len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        self._entries.clear()


class RedisCache:
    """Shared by all gateways. When Redis is away, every look-up misses and is counted as such."""

    def __init__(self, url: str, ttl_s: float, timeout_s: float) -> None:
        self.ttl_ms = int(ttl_s * 1000)
        self.errors = 0
        self._redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )

    async def get(self, key: str) -> Slate | None:
        try:
            found = await self._redis.get(f"{_PREFIX}{key}")
        except (RedisError, OSError) as error:
            self._count(error)
            return None
        return Slate(*orjson.loads(found)) if found else None

    async def put(self, key: str, slate: Slate) -> None:
        try:
            value = orjson.dumps(list(slate), default=str)
            await self._redis.set(f"{_PREFIX}{key}", value, px=self.ttl_ms)
        except (RedisError, OSError) as error:
            self._count(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _count(self, error: Exception) -> None:
        if self.errors == 0:
            log.warning("cache bypassed: %s", error)
        self.errors += 1
