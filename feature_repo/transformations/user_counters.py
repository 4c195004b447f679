"""What a user did on a day, as of the day's last event."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates
from feature_repo.transformations.daily import event_amounts


def user_counters(events: Table, dates: Dates) -> Table:
    """Warehouse events → user_id, views, adds, orders, spend of each active day."""
    amounts = event_amounts()
    del amounts["users"]
    named = events.filter(_.user_id.notnull())
    return named.group_by("user_id", day=_.timestamp.date()).agg(
        **amounts, event_timestamp=_.timestamp.max()
    )
