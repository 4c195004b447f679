"""Kafka as a source.

Limits: the broker does not count deliveries, so an entry that kills its consumer again and again is
not found out; topics are kept as long as the broker is told to.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

from pipelines.streaming.source import BrokerError, DeadLetter, Entry, read_dead_letter

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def _named(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Kafka's errors as a `BrokerError` that names the servers."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except (KafkaError, OSError) as error:
            source: Any = args[0]
            raise BrokerError(f"Kafka at {source.servers}: {error!r}") from error

    return wrapped


class KafkaSource:
    """See `Source`. Dead letters are in the topic `<stream>.dead`.

    Args:
        servers: `host:port`, several by commas.
        group: consumers of one group share the partitions; each group gets every entry.
        timeout_s: for a request.
        replay_wait_s: how long the replay waits for a next dead letter before it is done.
        security: further settings of aiokafka's clients, such as `security_protocol`.
    """

    def __init__(
        self,
        servers: str,
        stream: str,
        group: str,
        timeout_s: float,
        replay_wait_s: float,
        security: dict[str, Any] | None = None,
    ) -> None:
        self.name = stream
        self.group = group
        self.dead = f"{stream}.dead"
        self.servers = servers
        self._replay_wait_s = replay_wait_s
        self._common = {
            "bootstrap_servers": servers,
            "request_timeout_ms": round(timeout_s * 1000),
            **(security or {}),
        }
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._buried = 0

    @_named
    async def open(self) -> None:
        self._consumer = self._consumer or await self._started(self.name, self.group)

    async def _started(self, topic: str, group: str) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            topic,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **self._common,
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _sender(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(acks="all", **self._common)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    @_named
    async def read(self, most: int, wait_s: float) -> list[Entry]:
        await self.open()
        assert self._consumer is not None
        found = await self._consumer.getmany(timeout_ms=round(wait_s * 1000), max_records=most)
        return [_entry(record) for records in found.values() for record in records]

    @_named
    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        assert self._consumer is not None, "acknowledged before anything was read"
        offsets: dict[TopicPartition, int] = {}
        for entry in entries:
            place, offset = entry.key
            offsets[place] = max(offsets.get(place, 0), offset + 1)
        try:
            if offsets:
                await self._consumer.commit(offsets)
        except CommitFailedError as error:
            # The partitions went to another consumer meanwhile: it handles these entries again.
            log.warning("%d entries will be delivered again: %s", len(entries), error)

    @_named
    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        await self._send(self.dead, [letter.as_json() for letter in letters])
        self._buried += len(letters)

    @_named
    async def send(self, payloads: Sequence[bytes]) -> None:
        await self._send(self.name, payloads)

    async def _send(self, topic: str, payloads: Sequence[bytes]) -> None:
        sender = await self._sender()
        for sent in [await sender.send(topic, payload) for payload in payloads]:
            await sent

    @_named
    async def dead_letters(self, most: int) -> list[DeadLetter]:
        consumer = await self._started(self.dead, f"{self.group}-replay")
        try:
            found = await consumer.getmany(
                timeout_ms=round(self._replay_wait_s * 1000), max_records=most
            )
            return [read_dead_letter(r.value) for records in found.values() for r in records]
        finally:
            await consumer.stop()

    @_named
    async def replay(self) -> int:
        consumer = await self._started(self.dead, f"{self.group}-replay")
        replayed = 0
        try:
            while True:
                found = await consumer.getmany(timeout_ms=round(self._replay_wait_s * 1000))
                records = [r for records in found.values() for r in records]
                if not records:
                    return replayed
                await self._send(self.name, [read_dead_letter(r.value).payload for r in records])
                await consumer.commit()
                replayed += len(records)
        finally:
            await consumer.stop()

    async def tidy(self) -> None:
        """Retention is the broker's."""

    @_named
    async def status(self) -> dict[str, float]:
        behind = 0
        if self._consumer is not None:
            for place in self._consumer.assignment():
                newest = self._consumer.highwater(place)
                if newest is not None:
                    behind += newest - await self._consumer.position(place)
        return {"behind_entries": float(behind), "dead_letters": float(self._buried)}

    async def close(self) -> None:
        for client in (self._consumer, self._producer):
            if client is not None:
                with contextlib.suppress(KafkaError, OSError):
                    await client.stop()


def _entry(record: Any) -> Entry:
    place = TopicPartition(record.topic, record.partition)
    return Entry((place, record.offset), record.value or b"", record.timestamp / 1000)
