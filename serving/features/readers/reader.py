"""What every reader of an online store can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from serving.features.plans import Group
from serving.features.vectors import Block


class Lookup(NamedTuple):
    """What to read: a group's views, for these distinct keys."""

    group: Group
    keys: Sequence[Any]


class Reader(Protocol):
    """Reads rows as they were written; TTLs are the client's business."""

    async def open(self) -> None: ...

    def prepare(self, group: Group) -> Any:
        """What `read` needs to know of a group, made once and kept as `group.prepared`."""
        ...

    async def read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        """For each look-up, one block for each of its group's parts.

        Raises:
            FeaturesUnavailableError: the store does not answer, or not in time.
        """
        ...

    async def keys(self, group: Group, limit: int) -> list[Any]:
        """At most `limit` keys that some of the group's views have rows of.

        Stores that cannot list their keys give none.

        Raises:
            FeaturesUnavailableError: the store does not answer, or not in time.
        """
        ...

    async def close(self) -> None: ...
