"""Which candidates may be shown.

A filter has `keep(pool, ask)`, one bool an item. `attributes` names the item features it looks at,
`user_features` those of the user. With `relax`, it gives way where it would leave nothing.
"""

from __future__ import annotations

from typing import Protocol

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool


class Filter(Protocol):
    """Says of each candidate whether it stays."""

    attributes: tuple[str, ...]
    user_features: tuple[str, ...]
    relax: bool

    def keep(self, pool: Pool, ask: Ask) -> list[bool]: ...
