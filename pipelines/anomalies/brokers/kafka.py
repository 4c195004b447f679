"""Kafka with the partitions of its own topics, read without a consumer group.

The topic of anomalies has one partition that matters, its first, so that messages stay in order;
its last message says how far publishing has come. Dead letters are in the topic `<stream>.dead`.

Limits: topics are kept as long as the broker is told to, and bound what waits. A publisher that was
killed in the middle of a send may have its last messages arrive after its heir has looked: then
they come twice, with the same `id` and `sequence`. Dead letters of a publisher that was killed
between sending them and noting so are there twice, with the same key: a reader takes the first.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pipelines.anomalies.brokers.broker import Entry, by_partition
from pipelines.streaming.source import BrokerError, DeadLetter, read_dead_letter

P = ParamSpec("P")
T = TypeVar("T")


def _named(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Kafka's errors as a `BrokerError` that names the servers."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except BrokerError:
            raise
        except (KafkaError, OSError) as error:
            broker: Any = args[0]
            broker.forget()
            raise BrokerError(f"Kafka at {broker.servers}: {error!r}") from error

    return wrapped


class KafkaBroker:
    """See `Broker`.

    Args:
        servers: `host:port`, several by commas.
        partitions: of the stream's topic, which must have as many.
        group: of replays of dead letters.
        timeout_s: for a request.
        replay_wait_s: how long a replay waits for a next dead letter before it is done.
        security: further settings of aiokafka's clients, such as `security_protocol`.
    """

    def __init__(
        self,
        servers: str,
        stream: str,
        partitions: int,
        topic: str,
        group: str,
        timeout_s: float,
        replay_wait_s: float,
        security: dict[str, Any] | None = None,
    ) -> None:
        self.name = stream
        self.partitions = partitions
        self.topic = topic
        self.dead = f"{stream}.dead"
        self.servers = servers
        self._group = group
        self._replay_wait_s = replay_wait_s
        self._common = {
            "bootstrap_servers": servers,
            "request_timeout_ms": round(timeout_s * 1000),
            **(security or {}),
        }
        self._consumer: AIOKafkaConsumer | None = None
        self._tail: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._at: dict[int, int] = {}  # partition → offset that comes next
        self._published: tuple[int, int] | None = None  # end of the topic, its last sequence
        self._per_entry = 100.0  # events of an entry: a careful guess, then as seen lately
        self._buried = 0

    def forget(self) -> None:
        """After an error: where the broker stands is asked again."""
        self._at, self._published = {}, None

    @_named
    async def open(self) -> None:
        """Raises `BrokerError` also where the topic has another number of partitions."""
        if self._consumer is None:
            self._consumer = await self._started(AIOKafkaConsumer(**self._reading))
            found = self._consumer.partitions_for_topic(self.name)
            if found is None:  # not known yet: asking makes the client look
                await self._consumer.topics()
                found = self._consumer.partitions_for_topic(self.name)
            if found and len(found) != self.partitions:
                raise BrokerError(
                    f"Kafka at {self.servers}: topic {self.name} has {len(found)} partitions, the "
                    f"configuration says {self.partitions}"
                )

    @property
    def _reading(self) -> dict[str, Any]:
        reset = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
        return {**self._common, **reset}

    async def _started(self, client: Any) -> Any:
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    async def _sender(self) -> AIOKafkaProducer:
        if self._producer is None:
            made = AIOKafkaProducer(acks="all", enable_idempotence=True, **self._common)
            self._producer = await self._started(made)
        return self._producer

    @_named
    async def read(
        self, positions: Mapping[int, str | None], most_events: int, wait_s: float
    ) -> list[Entry]:
        await self.open()
        consumer = self._consumer
        assert consumer is not None
        places = {p: TopicPartition(self.name, p) for p in positions}
        if set(self._at) != set(positions):
            consumer.assign(list(places.values()))
            self._at = dict.fromkeys(positions, -1)
        for partition, position in positions.items():
            if position is None and self._at[partition] < 0:
                await consumer.seek_to_beginning(places[partition])
                self._at[partition] = await consumer.position(places[partition])
            elif position is not None and self._at[partition] != int(position):
                consumer.seek(places[partition], int(position))
                self._at[partition] = int(position)
        most = max(1, round(most_events / self._per_entry))
        found = await consumer.getmany(timeout_ms=round(wait_s * 1000), max_records=most)
        entries = []
        for place, records in found.items():
            for record in records:
                position = str(record.offset + 1)
                entries.append(
                    Entry(place.partition, position, record.value or b"", record.timestamp / 1000)
                )
                self._at[place.partition] = record.offset + 1
        return entries

    def sized(self, entries: int, events: int) -> None:
        if entries:
            self._per_entry = max(1.0, events / entries, 0.9 * self._per_entry)

    async def trim(self, positions: Mapping[int, str | None]) -> None:
        """Retention is the broker's."""

    @_named
    async def waiting(self, positions: Mapping[int, str | None]) -> dict[str, float]:
        await self.open()
        assert self._consumer is not None
        places = {p: TopicPartition(self.name, p) for p in positions}
        ends = await self._consumer.end_offsets(list(places.values()))
        behind = sum(ends[places[p]] - int(positions[p] or 0) for p in positions)
        return {"waiting_entries": float(behind), "dead_letters": float(self._buried)}

    @_named
    async def bury(self, token: str, letters: Sequence[bytes]) -> None:
        sender = await self._sender()
        keyed = [(f"{token}-{n}".encode(), letter) for n, letter in enumerate(letters)]
        for sent in [await sender.send(self.dead, letter, key=key) for key, letter in keyed]:
            await sent
        self._buried += len(letters)

    @_named
    async def send(self, payloads: Sequence[bytes]) -> None:
        sender = await self._sender()
        waiting = []
        for partition, entries in by_partition(payloads, self.partitions).items():
            for entry in entries:
                waiting.append(await sender.send(self.name, entry, partition=partition))
        for sent in waiting:
            await sent

    @_named
    async def dead_letters(self, most: int) -> list[DeadLetter]:
        consumer = await self._replaying()
        letters: list[DeadLetter] = []
        seen: set[bytes] = set()
        try:
            while len(letters) < most:  # partitions answer one after the other
                wait = round(self._replay_wait_s * 1000)
                found = await consumer.getmany(timeout_ms=wait, max_records=most - len(letters))
                if not found:
                    break
                records = _once((r for rs in found.values() for r in rs), seen)
                letters += [read_dead_letter(r.value) for r in records]
            return letters
        finally:
            await consumer.stop()

    @_named
    async def replay(self) -> int:
        consumer = await self._replaying()
        replayed = 0
        seen: set[bytes] = set()
        try:
            while True:
                found = await consumer.getmany(timeout_ms=round(self._replay_wait_s * 1000))
                records = [r for records in found.values() for r in records]
                if not records:
                    return replayed
                first = _once(records, seen)
                await self.send([read_dead_letter(r.value).payload for r in first])
                await consumer.commit()
                replayed += len(first)
        finally:
            await consumer.stop()

    async def _replaying(self) -> AIOKafkaConsumer:
        group = f"{self._group}-replay"
        return await self._started(AIOKafkaConsumer(self.dead, group_id=group, **self._reading))

    @_named
    async def published(self) -> int | None:
        if self._tail is None:
            self._tail = await self._started(AIOKafkaConsumer(**self._reading))
            self._tail.assign([TopicPartition(self.topic, 0)])
        place = TopicPartition(self.topic, 0)
        end = (await self._tail.end_offsets([place]))[place]
        if self._published is None or self._published[0] != end:
            first = (await self._tail.beginning_offsets([place]))[place]
            if end == first:
                return None
            self._tail.seek(place, end - 1)
            record = await self._tail.getone(place)
            self._published = end, int(orjson.loads(record.value)["sequence"])
        return self._published[1]

    @_named
    async def publish(self, messages: Sequence[tuple[int, bytes]]) -> None:
        sender = await self._sender()
        for sent in [await sender.send(self.topic, text, partition=0) for _, text in messages]:
            await sent

    async def close(self) -> None:
        for client in (self._consumer, self._tail, self._producer):
            if client is not None:
                with contextlib.suppress(KafkaError, OSError):
                    await client.stop()


def _once(records: Iterable[Any], seen: set[bytes]) -> list[Any]:
    """Without those whose key was seen before, which are noted; those without a key all stay."""
    found = []
    for record in records:
        if record.key is None or record.key not in seen:
            found.append(record)
        if record.key is not None:
            seen.add(record.key)
    return found
