"""Lists that a model made of all users at once."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates


def user_recommendations(recommendations: Table, dates: Dates) -> Table:
    """Warehouse recommendations → user_id, item_ids, model as of the run."""
    return recommendations.select(
        "user_id",
        "item_ids",
        "model",
        event_timestamp=_.event_timestamp,
        day=_.event_timestamp.date(),
    )
