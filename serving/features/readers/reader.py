"""What every reader of an online store can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from serving.features.catalog import ViewInfo
from serving.features.questions import Lookup
from serving.features.vectors import Block


class Reader(Protocol):
    """Reads rows as they were written; TTLs are the client's business."""

    async def open(self) -> None: ...

    async def read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        """For each look-up, one block for each of its parts.

        Raises:
            FeaturesUnavailableError: the store does not answer, or not in time.
        """
        ...

    async def keys(self, views: Sequence[ViewInfo], limit: int) -> list[Any]:
        """Keys that some of these views, all of one entity, have rows of; at most `limit`.

        Stores that cannot list their keys give none.
        """
        ...

    async def close(self) -> None: ...
