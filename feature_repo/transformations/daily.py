"""Sums over the last days: what statistics views are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import ibis
from ibis import _
from ibis.expr.types import Table, Value

from feature_repo.dates import EPOCH, Dates, day_number, midnight

_NUMBER = "day_number"  # days since 1970: engines agree on ranges of integers


def event_amounts() -> dict[str, Value]:
    """What happened on a day, from warehouse events: views, adds, orders, spend, users."""
    return {
        "views": (_.event == "Product Viewed").cast("int64").sum(),
        "adds": (_.event == "Product Added").cast("int64").sum(),
        "orders": (_.event == "Order Completed").cast("int64").sum(),
        "spend": ibis.ifelse(
            _.event == "Order Completed", _.price.cast("float64") * _.quantity, 0.0
        ).sum(),
        "users": _.user_id.nunique(),
    }


def windowed(
    rows: Table, key: str, amounts: Mapping[str, Value], windows: Sequence[int], dates: Dates
) -> Table:
    """Rows with a `timestamp` → for each key, sums over the last whole days: `views_7d`, ….

    A row is written for the midnight at which a value changes: after an active day, and when that
    day leaves a window. So the newest row before any moment is exact, also for a key that went
    quiet: its last row holds zeros. `day` is the day that ends at that midnight.

    Args:
        rows: of `dates` and of as many days before as the longest window has.
        amounts: aggregations of one day's rows; they must add up over days.
        dates: rows are written for days in this range only.
    """
    named = rows.filter(rows[key].notnull())
    number = named.timestamp.epoch_seconds() // 86_400
    daily = named.mutate(**{_NUMBER: number.cast("int64")}).group_by(key, _NUMBER).agg(**amounts)
    daily = daily.mutate(active_days=ibis.literal(1).cast("int64"))
    names = [*amounts, "active_days"]
    empty = {n: ibis.literal(0).cast(daily[n].type()) for n in names}
    changes = [
        daily.select(key, **{_NUMBER: daily[_NUMBER] + days}, **empty) for days in sorted(windows)
    ]
    combined = reduce(lambda a, b: a.union(b), changes, daily.select(key, _NUMBER, *names))
    points = combined.group_by(key, _NUMBER).agg(**{n: combined[n].sum() for n in names})
    sums: dict[str, Value] = {}
    for days in windows:
        recent = ibis.range_window(group_by=key, order_by=_NUMBER, preceding=days - 1, following=0)
        sums |= {f"{n}_{days}d": points[n].sum().over(recent) for n in names}
    result = points.select(key, _NUMBER, **sums)
    within = result.filter(
        _[_NUMBER] >= day_number(dates.first), _[_NUMBER] <= day_number(dates.last)
    )
    begun = ibis.literal(midnight(EPOCH)) + within[_NUMBER].as_interval("D")
    return within.mutate(event_timestamp=begun + ibis.interval(days=1), day=begun.date()).drop(
        _NUMBER
    )
