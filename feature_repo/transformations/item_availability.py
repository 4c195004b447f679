"""Whether an item may be sold, to whom and where."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates


def item_availability(inventory: Table, dates: Dates) -> Table:
    """Warehouse inventory → item_id, stock, minimum_age, regions since they were counted."""
    return inventory.select(
        "item_id",
        stock=_.stock.cast("int64"),
        minimum_age=_.minimum_age.cast("int64"),
        regions=_.regions,
        event_timestamp=_.timestamp,
        day=_.timestamp.date(),
    )
