"""What the processor reads from: partitions of a stream, from wherever it stands in each.

Unlike `pipelines.streaming.source.Source` there are no groups and no acknowledgements: the
processor keeps its positions itself, in one transaction with what it has found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from pipelines.anomalies.partition import partition_of
from pipelines.streaming.source import DeadLetter


class Entry(NamedTuple):
    """One event as JSON, or a list of them, all of one partition.

    Args:
        position: that a reader who has done with it stands at.
        arrived: when the broker got it, seconds since 1970.
    """

    partition: int
    position: str
    payload: bytes
    arrived: float


class Broker(Protocol):
    """Methods raise `BrokerError` while the broker is away; a later call connects again."""

    name: str
    partitions: int

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerError: it does not answer.
        """
        ...

    async def read(
        self, positions: Mapping[int, str | None], most_events: int, wait_s: float
    ) -> list[Entry]:
        """What comes after these positions, about `most_events` events at most, in order.

        None if nothing comes within `wait_s`. A position of None is the stream's beginning.
        """
        ...

    def sized(self, entries: int, events: int) -> None:
        """What was read held so many events: the next read asks for fewer entries, or for more."""
        ...

    async def trim(self, positions: Mapping[int, str | None]) -> None:
        """What lies before these positions is needed no more."""
        ...

    async def waiting(self, positions: Mapping[int, str | None]) -> dict[str, float]:
        """Numbers worth watching: entries that wait, seconds behind, dead letters."""
        ...

    async def bury(self, token: str, letters: Sequence[bytes]) -> None:
        """Keep dead letters (`DeadLetter.as_json`) beside the stream, once for each token.

        A broker that cannot know what it was told may keep those of a killed sender twice; its
        readers tell and replay them once.
        """
        ...

    async def dead_letters(self, most: int) -> list[DeadLetter]:
        """The oldest of them."""
        ...

    async def replay(self) -> int:
        """Send every dead letter that is there now to the stream again; returns how many."""
        ...

    async def send(self, payloads: Sequence[bytes]) -> None:
        """Append to the stream: each event goes to the partition of its source.

        Raises:
            StreamFullError: so much waits already that the sender must wait too.
        """
        ...

    async def published(self) -> int | None:
        """The sequence of the topic's last message; None: the topic is empty."""
        ...

    async def publish(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Append to the topic: sequences, rising, and what to say."""
        ...

    async def close(self) -> None: ...


def by_partition(payloads: Sequence[bytes], partitions: int) -> dict[int, list[bytes]]:
    """Entries for each partition. What cannot be read goes to partition 0, to be refused there."""
    found: dict[int, list[bytes]] = {}
    for payload in payloads:
        try:
            content = orjson.loads(payload)
        except orjson.JSONDecodeError:
            found.setdefault(0, []).append(payload)
            continue
        if not isinstance(content, list):
            found.setdefault(_partition(content, partitions), []).append(payload)
            continue
        some: dict[int, list[object]] = {}
        for event in content:
            some.setdefault(_partition(event, partitions), []).append(event)
        for partition, events in some.items():
            found.setdefault(partition, []).append(orjson.dumps(events))
    return found


def _partition(event: object, partitions: int) -> int:
    source = event.get("source") if isinstance(event, dict) else None
    return partition_of(source if isinstance(source, str) and source else "default", partitions)
