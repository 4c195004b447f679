"""How much a user viewed, added, ordered and spent, and on how many days."""

from __future__ import annotations

from ibis.expr.types import Table

from feature_repo.dates import Dates
from feature_repo.transformations.daily import event_amounts, windowed

WINDOWS = (1, 7, 30)


def user_statistics(events: Table, dates: Dates) -> Table:
    """Warehouse events → user_id, and five amounts over 1, 7 and 30 days."""
    amounts = event_amounts()
    del amounts["users"]
    return windowed(events, "user_id", amounts, WINDOWS, dates)
