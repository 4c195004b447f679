"""How much an item was viewed, added and ordered, by how many, and how often a view sells."""

from __future__ import annotations

import ibis
from ibis.expr.types import Table, Value

from feature_repo.dates import Dates
from feature_repo.transformations.daily import event_amounts, windowed

WINDOWS = (1, 7, 30)


def item_statistics(events: Table, dates: Dates) -> Table:
    """Warehouse events → item_id, and five amounts over 1, 7 and 30 days.

    The names differ from a user's, so that one feature service can hold both.
    """
    sums = windowed(events, "item_id", event_amounts(), WINDOWS, dates)
    columns: dict[str, Value] = {}
    for days in WINDOWS:
        views, orders = sums[f"views_{days}d"], sums[f"orders_{days}d"]
        columns |= {
            f"times_viewed_{days}d": views,
            f"times_added_{days}d": sums[f"adds_{days}d"],
            f"times_ordered_{days}d": orders,
            f"visitor_days_{days}d": sums[f"users_{days}d"],
            f"conversion_{days}d": ibis.ifelse(
                views > 0, orders.cast("float64") / views.cast("float64"), 0.0
            ),
        }
    return sums.select("item_id", **columns, event_timestamp="event_timestamp", day="day")
