"""Where telemetry goes: the partitions of a Redis stream, all of a request or nothing of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pipelines.anomalies.partition import partition_of, partition_stream

_SAMPLES = 5  # of a stream's parts, from which Redis estimates its size


class IntakeError(ConnectionError):
    """The broker did not take the telemetry.

    Args:
        unknown: whether it may have, all the same: the connection was lost while it was told to.
    """

    def __init__(self, text: str, unknown: bool) -> None:
        super().__init__(text)
        self.unknown = unknown


class Refused(NamedTuple):
    """A line that is no telemetry, for the dead letters."""

    reason: str
    payload: bytes


class Intake(Protocol):
    """A broker with partitions."""

    retry_after_s: int

    def partition(self, source: str) -> int: ...

    async def full(self, partitions: Collection[int]) -> frozenset[int]: ...

    async def send(
        self, events: Mapping[int, Sequence[bytes]], refused: Sequence[Refused]
    ) -> None: ...

    async def close(self) -> None: ...


class RedisIntake:
    """See `Intake`; an entry is one field, `data`, with a JSON list of events of one partition.

    Args:
        url: `redis://host:port/db` or `rediss://…`.
        stream: partition p is the stream `<stream>:<p>`, dead letters go to `<stream>:dead`.
        max_entries, max_mb: in a partition's stream, from which on it counts as full.
        max_letters: dead letters that are kept, about; the oldest go first.
        events_per_entry: at most.
        retry_after_s: what callers are told to wait while a partition is full.
        timeout_s: for a command.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        partitions: int,
        max_entries: int,
        max_mb: float,
        max_letters: int,
        events_per_entry: int,
        retry_after_s: int,
        timeout_s: float,
    ) -> None:
        self.stream = stream
        self.dead = f"{stream}:dead"
        self.partitions = partitions
        self.max_entries = max_entries
        self.max_bytes = max_mb * 2**20
        self.max_letters = max_letters
        self.events_per_entry = events_per_entry
        self.retry_after_s = retry_after_s
        # No retries of its own: what may have been taken must not be sent again unasked.
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    def partition(self, source: str) -> int:
        return partition_of(source, self.partitions)

    async def full(self, partitions: Collection[int]) -> frozenset[int]:
        """Which of the partitions are full.

        Raises:
            IntakeError: the broker does not answer; nothing was sent.
        """
        asked = sorted(partitions)
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for partition in asked:
                    pipe.xlen(partition_stream(self.stream, partition))
                    pipe.memory_usage(partition_stream(self.stream, partition), samples=_SAMPLES)
                told = await pipe.execute()
        except (RedisError, OSError) as error:
            raise IntakeError(f"{type(error).__name__}: {error}", unknown=False) from error
        return frozenset(
            partition
            for partition, entries, size in zip(asked, told[::2], told[1::2], strict=True)
            if entries >= self.max_entries or (size or 0) >= self.max_bytes
        )

    async def send(self, events: Mapping[int, Sequence[bytes]], refused: Sequence[Refused]) -> None:
        """Events by partition, in order, and dead letters, in one transaction of the broker.

        Raises:
            IntakeError: nothing of it was taken, or nobody knows.
        """
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for partition, payloads in events.items():
                    name = partition_stream(self.stream, partition)
                    for n in range(0, len(payloads), self.events_per_entry):
                        entry = b",".join(payloads[n : n + self.events_per_entry])
                        pipe.xadd(name, {b"data": b"[" + entry + b"]"})
                for letter in refused:
                    fields = {b"data": _as_json(letter)}
                    pipe.xadd(self.dead, fields, maxlen=self.max_letters, approximate=True)
                await pipe.execute()
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise IntakeError(f"{type(error).__name__}: {error}", unknown=True) from error
        except RedisError as error:  # it answered, and refused all of it
            raise IntakeError(str(error), unknown=False) from error

    async def close(self) -> None:
        await self._redis.aclose()


def _as_json(letter: Refused) -> bytes:
    """A dead letter as all streams of this project write them."""
    content = {"reason": letter.reason, "failed_at": datetime.now(UTC).isoformat()}
    try:
        content["payload"] = letter.payload.decode()
    except UnicodeDecodeError:
        content["payload_base64"] = base64.b64encode(letter.payload).decode()
    return json.dumps(content, ensure_ascii=False).encode()
