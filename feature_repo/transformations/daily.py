"""Counts by day, and their running totals: what statistics views are made of."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table


def running_totals(events: Table, key: str) -> Table:
    """Warehouse events → for each active day of each key, totals since the beginning.

    The row of a day is known when the day is over: its `event_timestamp` is the next midnight.
    """
    named = events.filter(_[key].notnull())
    daily = named.group_by(key, day=_.timestamp.truncate("D")).agg(
        views=(_.event == "Product Viewed").cast("int64").sum(),
        adds=(_.event == "Product Added").cast("int64").sum(),
        orders=(_.event == "Order Completed").cast("int64").sum(),
        spend=ibis.ifelse(_.event == "Order Completed", _.price * _.quantity, 0.0).sum(),
        users=_.user_id.nunique(),
    )
    so_far = ibis.cumulative_window(group_by=key, order_by="day")
    return daily.mutate(
        **{n: daily[n].sum().over(so_far) for n in ("views", "adds", "orders", "spend", "users")},
        active_days=ibis.row_number().over(so_far) + 1,
        event_timestamp=_.day + ibis.interval(days=1),
    )
