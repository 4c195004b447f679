"""What many look at now: old looks count less than new ones.

A part has `ranked()`, the items with a positive score, best first; `open` and `close`.
"""

from __future__ import annotations

from typing import Protocol

from serving.gateway.ranking import Ranking


class Trending(Protocol):
    """Ranks items by decayed counts."""

    def ranked(self) -> Ranking: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...
