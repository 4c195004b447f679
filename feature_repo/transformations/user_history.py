"""What a user touched, oldest first: one row for each day on which the user was active."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates


def user_history(
    interactions: Table,
    previous: Table,
    dates: Dates,
    history_length: int,
    collapse_repeats: bool,
) -> Table:
    """Interactions (user_id, item_id, timestamp, sequence) → user_id, item_ids, length.

    A row holds the last `history_length` items as of the day's last touch, which is its
    `event_timestamp`: a join at any moment sees only what had happened by then, at most one day
    behind. `sequence` orders touches of one moment.

    Args:
        previous: each user's newest row before `dates`: user_id, item_ids, length.
        collapse_repeats: of several touches in a row of the same item, the first one counts.
    """
    before = previous.select(
        "user_id",
        last_item=_.item_ids[_.item_ids.length() - 1],
        old_items="item_ids",
        old_length="length",
    )
    touches = interactions
    if collapse_repeats:
        touches = _collapsed(interactions, before)
    # Sorted as structs: not every engine can order what it collects.
    touch = ibis.struct(
        {"timestamp": touches.timestamp, "place": touches.sequence, "item": touches.item_id}
    )
    daily = touches.group_by("user_id", day=_.timestamp.date()).agg(
        items=touch.collect().sort().map(lambda t: t["item"]),
        touches=_.count(),
        event_timestamp=_.timestamp.max(),
    )
    # Each active day has at least one item, so `history_length` days are always enough.
    recent = ibis.window(
        group_by="user_id", order_by="day", preceding=history_length - 1, following=0
    )
    so_far = ibis.cumulative_window(group_by="user_id", order_by="day")
    added = daily.mutate(
        new_items=_.items.collect().over(recent).flatten(),
        new_length=_.touches.sum().over(so_far),
    )
    joined = added.left_join(before, "user_id")
    history = joined.select(
        user_id=added.user_id,
        items=ibis.ifelse(_.old_items.isnull(), _.new_items, _.old_items.concat(_.new_items)),
        length=_.new_length + ibis.coalesce(_.old_length, 0),
        event_timestamp="event_timestamp",
        day="day",
    )
    n = history["items"].length()
    kept = history["items"][ibis.greatest(n - history_length, 0) : n]
    return history.select(
        "user_id",
        item_ids=kept,
        length="length",
        event_timestamp="event_timestamp",
        day="day",
    )


def _collapsed(interactions: Table, before: Table) -> Table:
    """Without touches of the item that the same user touched just before."""
    joined = interactions.left_join(before, "user_id").select(
        user_id=interactions.user_id,
        item_id=interactions.item_id,
        timestamp=interactions.timestamp,
        sequence=interactions.sequence,
        last_item="last_item",
    )
    by_user = ibis.window(group_by="user_id", order_by=["timestamp", "sequence"])
    last = ibis.coalesce(joined.item_id.lag().over(by_user), joined.last_item)
    marked = joined.mutate(repeated=ibis.coalesce(last == joined.item_id, False))
    return marked.filter(~_.repeated).drop("repeated", "last_item")
