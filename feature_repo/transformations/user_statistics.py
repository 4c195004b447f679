"""How much a user viewed, added, ordered and spent."""

from __future__ import annotations

from ibis.expr.types import Table

from feature_repo.transformations.daily import running_totals


def user_statistics(events: Table) -> Table:
    """Warehouse events → user_id, views, adds, orders, spend, active_days."""
    return running_totals(events, "user_id").select(
        "user_id", "views", "adds", "orders", "spend", "active_days", "event_timestamp"
    )
