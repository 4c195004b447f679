"""What a user touched, oldest first: one row for each day on which the user was active."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table


def user_history(interactions: Table, max_items: int) -> Table:
    """Interactions (user_id, item_id, timestamp, position) → user_id, item_ids, length.

    A row holds the last `max_items` items as of the day's last touch, which is its
    `event_timestamp`: a join at any moment sees only what had happened by then, at most one day
    behind. `position` orders touches of one moment.
    """
    daily = interactions.group_by("user_id", day=_.timestamp.truncate("D")).agg(
        items=_.item_id.collect(order_by=[_.timestamp, _.position]),
        touches=_.count(),
        event_timestamp=_.timestamp.max(),
    )
    # Each active day has at least one item, so `max_items` days are always enough.
    recent = ibis.window(group_by="user_id", order_by="day", preceding=max_items - 1, following=0)
    so_far = ibis.cumulative_window(group_by="user_id", order_by="day")
    history = daily.mutate(
        item_ids=_.items.collect().over(recent).flatten(),
        length=_.touches.sum().over(so_far),
    )
    n = history.item_ids.length()
    first = ibis.greatest(n - max_items, 0)
    return history.select(
        "user_id",
        item_ids=history.item_ids[first:n],
        length="length",
        event_timestamp="event_timestamp",
    )
