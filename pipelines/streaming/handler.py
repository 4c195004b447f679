"""What a stream job is made of beside its broker: a reader of entries, and a handler of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Reading(Protocol):
    """What a reader makes of an entry."""

    @property
    def rows(self) -> list[dict[str, Any]]: ...

    @property
    def left_out(self) -> int:
        """Messages that are none of the task's."""
        ...

    @property
    def refused(self) -> list[tuple[str, bytes]]:
        """Reasons, and the messages as they came."""
        ...


class Reader(Protocol):
    """Turns entries into rows."""

    def read(self, payload: bytes, arrived: float) -> Reading:
        """Never raises: what is wrong is in `refused`."""
        ...

    def write(self, row: Mapping[str, Any]) -> bytes:
        """The reverse: what gives this row when it is read."""
        ...


class Handler(Protocol):
    """What a job does with rows. Its methods run in threads; `handle` in one at a time.

    `outages` are the errors that say "not now": the job waits and tries again. Any other error is
    taken to be about the rows.
    """

    outages: tuple[type[Exception], ...]

    def open(self) -> None:
        """Called once, before anything else."""
        ...

    def handle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows may have been handled before, in part or all; that must change nothing."""
        ...

    def maintain(self) -> None:
        """Called now and then, beside `handle`."""
        ...

    def close(self) -> None:
        """Called last, when the job ends in peace."""
        ...
