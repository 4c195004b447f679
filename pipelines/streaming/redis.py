"""Redis Streams as a source (Redis 6.2 or newer).

An entry is one field, `data`, with JSON: any client can write it with `XADD events * data '…'`.
Entries stay in the stream until every group has acknowledged them; older ones are trimmed.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from pipelines.streaming.source import BrokerError, DeadLetter, Entry, read_dead_letter

FIELD = b"data"
P = ParamSpec("P")
T = TypeVar("T")


def _named(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Redis' errors as a `BrokerError` that names the server."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except (RedisError, OSError) as error:
            source: Any = args[0]
            raise BrokerError(f"Redis at {source.shown}: {error}") from error

    return wrapped


class RedisSource:
    """See `Source`.

    Args:
        url: `redis://host:port/db` or `rediss://…`.
        group: consumers of one group share the entries; each group gets all of them.
        claim_after_s: an entry that a consumer has not acknowledged for so long is given to
            another one; longer than a batch ever takes.
        keep_s: acknowledged entries younger than this stay in the stream, for other readers.
        timeout_s: for a command.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        group: str,
        claim_after_s: float,
        keep_s: float,
        timeout_s: float,
    ) -> None:
        self.name = stream
        self.group = group
        self.consumer = f"{socket.gethostname()}-{os.getpid()}"
        self.dead = f"{stream}:dead"
        self.shown = url.rsplit("@", 1)[-1].removeprefix("redis://")  # without a password
        self._claim_after_s = claim_after_s
        self._keep_s = keep_s
        self._claimed_at = float("-inf")
        self._cursor: bytes | str = "0-0"
        self._redis: Any = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )

    @_named
    async def open(self) -> None:
        try:
            await self._redis.xgroup_create(self.name, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    @_named
    async def read(self, most: int, wait_s: float) -> list[Entry]:
        try:
            claimed = await self._claim(most)
            if claimed:
                return claimed
            answer = await self._redis.xreadgroup(
                self.group, self.consumer, {self.name: ">"}, count=most,
                block=max(1, round(wait_s * 1000)),
            )  # fmt: skip
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.open()  # a server that came back empty
            return []
        return [_entry(key, fields) for _, found in answer or [] for key, fields in found]

    async def _claim(self, most: int) -> list[Entry]:
        """What consumers that are gone, or stuck, left behind."""
        now = time.monotonic()
        if self._cursor == "0-0" and now - self._claimed_at < self._claim_after_s / 4:
            return []
        self._claimed_at = now
        idle = round(self._claim_after_s * 1000)
        cursor, found, *_ = await self._redis.xautoclaim(
            self.name, self.group, self.consumer, idle, start_id=self._cursor, count=most
        )
        self._cursor = "0-0" if cursor in (b"0-0", "0-0") else cursor
        found = [(key, fields) for key, fields in found if fields]
        if not found:
            return []
        first, last = found[0][0], found[-1][0]
        pending = await self._redis.xpending_range(
            self.name, self.group, first, last, count=10 * most, consumername=self.consumer
        )
        times = {p["message_id"]: p["times_delivered"] for p in pending}
        return [_entry(key, fields, times.get(key, 1)) for key, fields in found]

    @_named
    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        if entries:
            await self._redis.xack(self.name, self.group, *(e.key for e in entries))

    @_named
    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for letter in letters:
                pipe.xadd(self.dead, {FIELD: letter.as_json()})
            await pipe.execute()

    @_named
    async def dead_letters(self, most: int) -> list[DeadLetter]:
        found = await self._redis.xrange(self.dead, count=most)
        return [read_dead_letter(fields[FIELD]) for _, fields in found]

    @_named
    async def replay(self) -> int:
        replayed, last = 0, await self._redis.xrevrange(self.dead, count=1)
        while last:
            found = await self._redis.xrange(self.dead, max=last[0][0], count=1000)
            if not found:
                break
            async with self._redis.pipeline(transaction=True) as pipe:  # moved, never copied
                for key, fields in found:
                    pipe.xadd(self.name, {FIELD: read_dead_letter(fields[FIELD]).payload})
                    pipe.xdel(self.dead, key)
                await pipe.execute()
            replayed += len(found)
        return replayed

    @_named
    async def send(self, payloads: Sequence[bytes]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for payload in payloads:
                pipe.xadd(self.name, {FIELD: payload})
            await pipe.execute()

    @_named
    async def tidy(self) -> None:
        """Trim what every group has done with, and forget consumers that are gone."""
        oldest = round((time.time() - self._keep_s) * 1000), 0
        for group in await self._redis.xinfo_groups(self.name):
            pending = await self._redis.xpending(self.name, group["name"])
            oldest = min(oldest, _numbers(pending["min"] or group["last-delivered-id"]))
        await self._redis.xtrim(self.name, minid=f"{oldest[0]}-{oldest[1]}", approximate=True)
        for other in await self._redis.xinfo_consumers(self.name, self.group):
            gone = other["idle"] > 100_000 * self._claim_after_s and other["pending"] == 0
            if gone and other["name"].decode() != self.consumer:
                await self._redis.xgroup_delconsumer(self.name, self.group, other["name"])

    @_named
    async def status(self) -> dict[str, float]:
        stream = await self._redis.xinfo_stream(self.name)
        groups = {g["name"].decode(): g for g in await self._redis.xinfo_groups(self.name)}
        mine = groups[self.group]
        newest, seen = _numbers(stream["last-generated-id"]), _numbers(mine["last-delivered-id"])
        return {
            "behind_seconds": max(0.0, (newest[0] - seen[0]) / 1000) if seen[0] else 0.0,
            "unacknowledged": float(mine["pending"]),
            "stream_entries": float(stream["length"]),
            "dead_letters": float(await self._redis.xlen(self.dead)),
        }

    async def close(self) -> None:
        await self._redis.aclose()


def _entry(key: bytes, fields: dict[bytes, bytes], deliveries: int = 1) -> Entry:
    # An entry without our field is handled as an empty message, which is refused with a reason.
    return Entry(key, fields.get(FIELD, b""), _numbers(key)[0] / 1000, deliveries)


def _numbers(key: bytes) -> tuple[int, int]:
    first, _, second = key.decode().partition("-")
    return int(first), int(second or 0)
