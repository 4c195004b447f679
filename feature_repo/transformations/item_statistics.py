"""How much an item was viewed, added and ordered, and how often a view ends in an order."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.transformations.daily import running_totals


def item_statistics(events: Table) -> Table:
    """Warehouse events → item_id, views, adds, orders, conversion, users."""
    totals = running_totals(events, "item_id")
    conversion = ibis.ifelse(_.views > 0, _.orders / _.views, 0.0)
    return totals.mutate(conversion=conversion).select(
        "item_id", "views", "adds", "orders", "conversion", "users", "event_timestamp"
    )
