"""Redis Streams with partitions (Redis 6.2 or newer): streams `<stream>:<p>`.

An entry is one field, `data`. What every position has passed is trimmed. A message of the topic
has its sequence as its id, which Redis accepts once only: publishing again changes nothing.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from pipelines.anomalies.brokers.broker import Entry, by_partition
from pipelines.anomalies.partition import partition_stream
from pipelines.streaming.source import BrokerError, DeadLetter, StreamFullError, read_dead_letter

FIELD = b"data"
_BEGINNING = "0-0"
_SAMPLES = 5  # of a stream's parts, from which Redis estimates its size
_REMEMBERED_S = 86_400  # which dead letters were kept
P = ParamSpec("P")
T = TypeVar("T")


def _named(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Redis' errors as a `BrokerError` that names the server."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except BrokerError:
            raise
        except (RedisError, OSError) as error:
            broker: Any = args[0]
            raise BrokerError(f"Redis at {broker.shown}: {error}") from error

    return wrapped


class RedisBroker:
    """See `Broker`.

    Args:
        url: `redis://host:port/db` or `rediss://…`.
        most_waiting, most_mb: entries of one partition, and their size; beyond either senders are
            told to wait.
        most_dead: dead letters that are kept, about; the oldest go first.
        topic_length: messages of the topic that are kept, about.
        timeout_s: for a command.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        partitions: int,
        topic: str,
        most_waiting: int,
        most_dead: int,
        topic_length: int,
        timeout_s: float,
        most_mb: float = 256.0,
    ) -> None:
        self.name = stream
        self.partitions = partitions
        self.topic = topic
        self.dead = f"{stream}:dead"
        self.shown = url.rsplit("@", 1)[-1].removeprefix("redis://")  # without a password
        self._streams = [partition_stream(stream, p) for p in range(partitions)]
        self._numbers = {name.encode(): p for p, name in enumerate(self._streams)}
        self._most_waiting = most_waiting
        self._most_mb = most_mb
        self._most_dead = most_dead
        self._topic_length = topic_length
        self._per_entry = 100.0  # events of an entry: a careful guess, then as seen lately
        self._redis: Any = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )

    @_named
    async def open(self) -> None:
        await self._redis.ping()

    @_named
    async def read(
        self, positions: Mapping[int, str | None], most_events: int, wait_s: float
    ) -> list[Entry]:
        # Redis counts entries; how many events they hold shows only when they are here.
        count = max(1, round(most_events / self._per_entry / max(1, len(positions))))
        answer = await self._redis.xread(
            {self._streams[p]: position or _BEGINNING for p, position in positions.items()},
            count=count,
            block=max(1, round(wait_s * 1000)),
        )
        found = []
        for stream, entries in answer or []:
            partition = self._numbers[stream]
            for key, fields in entries:
                name = key.decode()
                # An entry without our field is refused as no JSON.
                payload = fields.get(FIELD, b"")
                found.append(Entry(partition, name, payload, int(name.split("-")[0]) / 1000))
        return found

    def sized(self, entries: int, events: int) -> None:
        """What was read held so many events: the next read asks for fewer entries, or more."""
        if entries:
            size = max(1.0, events / entries)
            # Up at once, for memory's sake; down slowly.
            self._per_entry = max(size, 0.9 * self._per_entry)

    @_named
    async def trim(self, positions: Mapping[int, str | None]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for partition, position in positions.items():
                if position is not None:
                    pipe.xtrim(self._streams[partition], minid=_after(position), approximate=False)
            await pipe.execute()

    @_named
    async def waiting(self, positions: Mapping[int, str | None]) -> dict[str, float]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for partition in positions:
                pipe.xlen(self._streams[partition])
            for partition, position in positions.items():
                pipe.xrange(self._streams[partition], min=_after(position), count=1)
            pipe.xlen(self.dead)
            *found, dead = await pipe.execute()
        lengths, oldest = found[: len(positions)], found[len(positions) :]
        now = time.time()
        behind = [now - int(first[0][0].split(b"-")[0]) / 1000 for first in oldest if first]
        return {
            "waiting_entries": float(sum(lengths)),
            "behind_seconds": max([0.0, *behind]),
            "dead_letters": float(dead),
        }

    @_named
    async def bury(self, token: str, letters: Sequence[bytes]) -> None:
        mark = f"{self.dead}:{token}"
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(mark)  # whoever else buries them now makes us fail, and look again
            if await pipe.exists(mark):
                return
            pipe.multi()
            pipe.set(mark, 1, ex=_REMEMBERED_S)
            for letter in letters:
                pipe.xadd(self.dead, {FIELD: letter}, maxlen=self._most_dead, approximate=True)
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
            payloads = [read_dead_letter(fields[FIELD]).payload for _, fields in found]
            async with self._redis.pipeline(transaction=True) as pipe:  # moved, never copied
                for partition, entries in by_partition(payloads, self.partitions).items():
                    for entry in entries:
                        pipe.xadd(self._streams[partition], {FIELD: entry})
                pipe.xdel(self.dead, *(key for key, _ in found))
                await pipe.execute()
            replayed += len(found)
        return replayed

    @_named
    async def send(self, payloads: Sequence[bytes]) -> None:
        sorted_out = by_partition(payloads, self.partitions)
        async with self._redis.pipeline(transaction=False) as pipe:
            for partition in sorted_out:
                pipe.xlen(self._streams[partition])
                pipe.memory_usage(self._streams[partition], samples=_SAMPLES)
            told = await pipe.execute()
        for partition, length, size in zip(sorted_out, told[::2], told[1::2], strict=True):
            megabytes = (size or 0) / 2**20
            if length >= self._most_waiting or megabytes >= self._most_mb:
                raise StreamFullError(
                    f"{self._streams[partition]} on Redis at {self.shown} has {length} entries of "
                    f"{megabytes:.1f} MiB waiting; at most {self._most_waiting} and "
                    f"{self._most_mb:g} MiB are accepted: send more slowly, or start another "
                    "processor"
                )
        async with self._redis.pipeline(transaction=False) as pipe:
            for partition, entries in sorted_out.items():
                for entry in entries:
                    pipe.xadd(self._streams[partition], {FIELD: entry})
            await pipe.execute()

    @_named
    async def published(self) -> int | None:
        try:
            found = await self._redis.xinfo_stream(self.topic)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return None
        return int(_text(found["last-generated-id"]).split("-")[0])

    @_named
    async def publish(self, messages: Sequence[tuple[int, bytes]]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for sequence, text in messages:
                pipe.xadd(
                    self.topic, {FIELD: text}, id=f"{sequence}-0", maxlen=self._topic_length,
                    approximate=True,
                )  # fmt: skip
            answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            # "equal or smaller": it is there already.
            if isinstance(answer, Exception) and "equal or smaller" not in str(answer):
                raise answer

    async def close(self) -> None:
        await self._redis.aclose()


def _after(position: str | None) -> str:
    """The smallest id behind a position."""
    if position is None:
        return _BEGINNING
    first, _, second = position.partition("-")
    return f"{first}-{int(second) + 1}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
