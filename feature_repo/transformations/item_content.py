"""The catalog's entry of an item."""

from __future__ import annotations

from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates


def item_content(items: Table, dates: Dates) -> Table:
    """Warehouse items → item_id, title, description, category, brand, price since they exist."""
    return items.select(
        "item_id",
        "title",
        "description",
        "category",
        "brand",
        price=_.price.cast("float64"),
        event_timestamp=_.created_at,
        day=_.created_at.date(),
    )
