"""What a stream job reads from: a broker with consumer groups, acknowledgement and dead letters."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol


class BrokerError(ConnectionError):
    """A broker that does not answer or does not accept what it is told."""

    exit_code = 69  # EX_UNAVAILABLE


class StreamFullError(BrokerError):
    """So much waits that no more is accepted now."""


class Entry(NamedTuple):
    """What a broker delivers at once: one message, or a list of them.

    Args:
        key: where the entry lies; it means something to its source only.
        arrived: when the broker got it, seconds since 1970.
        deliveries: how often it has been delivered, this time included; 1 where nobody counts.
    """

    key: Any
    payload: bytes
    arrived: float
    deliveries: int = 1


@dataclass(frozen=True)
class DeadLetter:
    """What could not be handled, and why."""

    reason: str
    payload: bytes

    def as_json(self) -> bytes:
        """Text stays readable; bytes that are no UTF-8 are kept in base 64."""
        content = {"reason": self.reason, "failed_at": datetime.now(UTC).isoformat()}
        try:
            content["payload"] = self.payload.decode()
        except UnicodeDecodeError:
            content["payload_base64"] = base64.b64encode(self.payload).decode()
        return json.dumps(content, ensure_ascii=False).encode()


def read_dead_letter(text: bytes) -> DeadLetter:
    """The reverse of `DeadLetter.as_json`."""
    content = json.loads(text)
    if "payload_base64" in content:
        return DeadLetter(content["reason"], base64.b64decode(content["payload_base64"]))
    return DeadLetter(content["reason"], content["payload"].encode())


class Source(Protocol):
    """One consumer of a consumer group of one stream.

    An entry is delivered again, to this consumer or another, until somebody acknowledges it.
    Methods raise `BrokerError` while the broker is away; a later call connects again.
    """

    name: str

    async def open(self) -> None:
        """Connect; make the group if it is not there, from the stream's first entry on."""
        ...

    async def read(self, most: int, wait_s: float) -> list[Entry]:
        """At most `most` entries; none if none comes within `wait_s`."""
        ...

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        """These are done."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters beside the stream."""
        ...

    async def dead_letters(self, most: int) -> list[DeadLetter]:
        """The oldest of them."""
        ...

    async def replay(self) -> int:
        """Send every dead letter that is there now to the stream again; returns how many."""
        ...

    async def send(self, payloads: Sequence[bytes]) -> None:
        """Append to the stream."""
        ...

    async def tidy(self) -> None:
        """Called now and then: give back what nobody needs any more."""
        ...

    async def status(self) -> dict[str, float]:
        """Numbers worth watching, by name: how far behind, how many dead letters."""
        ...

    async def close(self) -> None:
        """Leave the group's entries to others."""
        ...
