"""Feature views: a transformation's offline table, its schema, and what each column means."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from feature_repo.entities import item, user
from feature_repo.store import feast

_feast = feast()
_types: Any = __import__("feast.types", fromlist=["Array"])

Array, Float64, Int64, String = _types.Array, _types.Float64, _types.Int64, _types.String

# Cumulative features stay true while nothing happens, so they do not age.
NEVER_AGES = timedelta(0)

SCHEMAS: dict[str, tuple[Any, list[tuple[str, Any, str]]]] = {
    "user_history": (
        user,
        [
            ("item_ids", Array(String), "items touched, oldest first, the most recent ones only"),
            ("length", Int64, "how many items were touched in all"),
        ],
    ),
    "user_statistics": (
        user,
        [
            ("views", Int64, "products viewed since the beginning"),
            ("adds", Int64, "products put into the cart"),
            ("orders", Int64, "ordered lines"),
            ("spend", Float64, "money spent, in the shop's currency"),
            ("active_days", Int64, "days with at least one event"),
        ],
    ),
    "item_statistics": (
        item,
        [
            ("times_viewed", Int64, "times viewed since the beginning"),
            ("times_added", Int64, "times put into a cart"),
            ("times_ordered", Int64, "times ordered"),
            ("conversion", Float64, "orders per view"),
            ("daily_visitors", Int64, "sum over days of distinct users who touched it"),
        ],
    ),
}


def feature_view(name: str, features: Path) -> Any:
    """The Feast view of one transformation, reading its table below the features folder."""
    entity, columns = SCHEMAS[name]
    return _feast.FeatureView(
        name=name,
        entities=[entity],
        ttl=NEVER_AGES,
        schema=[_feast.Field(name=n, dtype=t, description=d) for n, t, d in columns],
        source=_feast.FileSource(
            name=f"{name}_table",
            path=str(table_path(features, name)),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
        online=True,
        description=f"feature_repo/transformations/{name}.py",
        owner="millrace",
    )


def table_path(features: Path, name: str) -> Path:
    """Where a view's offline table lies."""
    return features / "offline" / name / "part-0.parquet"
