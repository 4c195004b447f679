"""Which categories a user viewed lately: one row for each day on which there was a view."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates

DAYS = 30  # as long as the longest window of the statistics


def user_categories(category_views: Table, dates: Dates) -> Table:
    """Views (user_id, category, timestamp) → user_id, categories, category_views.

    A row counts the views of the last `DAYS` days, its own included, as of its day's last view,
    which is its `event_timestamp`: a join at any moment sees only what had happened by then. The
    most viewed category comes first. Who went quiet keeps what they looked at last.
    """
    daily = category_views.group_by("user_id", "category", day=_.timestamp.date()).agg(
        n=_.count(), last=_.timestamp.max()
    )
    active = daily.group_by("user_id", "day").agg(event_timestamp=_.last.max())
    active = active.filter(_.day >= dates.first, _.day <= dates.last)
    before = daily.select(of_user="user_id", category="category", on_day="day", n="n")
    joined = active.join(
        before,
        [
            active.user_id == before.of_user,
            before.on_day <= active.day,
            before.on_day > active.day - ibis.interval(days=DAYS),
        ],
    )
    counts = joined.group_by("user_id", "day", "event_timestamp", "category").agg(n=_.n.sum())
    # Sorted as structs: not every engine can order what it collects.
    ranked = ibis.struct({"fewer": -counts.n, "category": counts.category})
    lists = counts.group_by("user_id", "day", "event_timestamp").agg(ranked=ranked.collect().sort())
    return lists.select(
        "user_id",
        categories=_.ranked.map(lambda row: row["category"]),
        category_views=_.ranked.map(lambda row: -row["fewer"]),
        event_timestamp="event_timestamp",
        day="day",
    )
