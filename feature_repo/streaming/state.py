"""A user's rows from base and events: what the batch transformations compute from the same events.

See `feature_repo/transformations/user_history.py` and `user_counters.py`, which these must equal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from feature_repo.streaming.journal import DAY_US


class History(NamedTuple):
    """The newest row of `user_history`; `moment` in microseconds since 1970.

    The moment is that of the last touch, a repeat or not. So it never goes back when a late touch
    turns the last one into a repeat, and newer knowledge is never hidden by an older row.
    """

    item_ids: list[str]
    length: int
    moment: int


class Counters(NamedTuple):
    """The newest row of `user_counters`; `moment` in microseconds since 1970."""

    views: int
    adds: int
    orders: int
    spend: float
    moment: int


def history(
    base_items: Sequence[str],
    base_length: int,
    events: Sequence[Any],
    names: Collection[str],
    history_length: int,
    collapse_repeats: bool,
) -> History | None:
    """The row after all these events, which are in order; None if none of them is a touch."""
    items, length, moment = list(base_items), base_length, 0
    for event in events:
        if event.event not in names or event.item_id is None:
            continue
        moment = event.timestamp
        if collapse_repeats and items and items[-1] == event.item_id:
            continue
        items.append(event.item_id)
        length += 1
    return History(items[-history_length:], length, moment) if moment and items else None


def counters(events: Sequence[Any]) -> Counters | None:
    """The row of the last event's day."""
    if not events:
        return None
    last = events[-1].timestamp
    views = adds = orders = 0
    spend = 0.0
    for event in events:
        if event.timestamp // DAY_US != last // DAY_US:
            continue
        views += event.event == "Product Viewed"
        adds += event.event == "Product Added"
        if event.event == "Order Completed":
            orders += 1
            if event.price is not None and event.quantity is not None:
                spend += event.price * event.quantity
    return Counters(views, adds, orders, spend, last)
