"""How much an item was viewed, added and ordered, and how often a view ends in an order."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.transformations.daily import running_totals


def item_statistics(events: Table) -> Table:
    """Warehouse events → item_id, times_viewed/added/ordered, conversion, daily_visitors.

    The names differ from a user's, so that one feature service can hold both.
    """
    return running_totals(events, "item_id").select(
        "item_id",
        times_viewed=_.views,
        times_added=_.adds,
        times_ordered=_.orders,
        conversion=ibis.ifelse(_.views > 0, _.orders / _.views, 0.0),
        daily_visitors=_.users,
        event_timestamp=_.event_timestamp,
    )
