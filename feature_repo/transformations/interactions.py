"""Which items a user touched, from the warehouse's events."""

from __future__ import annotations

from collections.abc import Sequence

from ibis import _
from ibis.expr.types import Table


def interactions(events: Table, names: Sequence[str]) -> Table:
    """Warehouse events → user_id, item_id, timestamp, sequence.

    Args:
        names: of the events that count as a touch.

    `sequence` orders touches of one moment, as training's reader of the warehouse does.
    """
    return events.filter(
        _.event.isin(list(names)), _.user_id.notnull(), _.item_id.notnull()
    ).select("user_id", "item_id", "timestamp", sequence="message_id")
