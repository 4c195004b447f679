"""Every feature view, and what each of its columns means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from feature_repo.entities import item, source, user
from feature_repo.quality.comparisons import nested
from feature_repo.transformations.item_availability import item_availability
from feature_repo.transformations.item_content import item_content
from feature_repo.transformations.item_review_sentiment import item_review_sentiment
from feature_repo.transformations.item_statistics import item_statistics
from feature_repo.transformations.telemetry_windows import telemetry_windows
from feature_repo.transformations.user_categories import user_categories
from feature_repo.transformations.user_counters import user_counters
from feature_repo.transformations.user_history import user_history
from feature_repo.transformations.user_profile import user_profile
from feature_repo.transformations.user_recommendations import user_recommendations
from feature_repo.transformations.user_statistics import user_statistics
from feature_repo.view import Feature, View

_types: Any = __import__("feast.types", fromlist=["Array"])
Array, Float64, Int64, String = _types.Array, _types.Float64, _types.Int64, _types.String


def _counted(names: dict[str, str], windows: tuple[int, ...], dtype: Any) -> tuple[Feature, ...]:
    """`views_7d` and so on: one feature a name and window, never negative."""
    return tuple(
        Feature(f"{name}_{days}d", dtype, f"{text}, last {days} whole days", lowest=0)
        for name, text in names.items()
        for days in windows
    )


WINDOWS = (1, 7, 30)
REVIEW_WINDOWS = (7, 30, 90)

USER_HISTORY = View(
    name="user_history",
    entity=user,
    features=(
        Feature("item_ids", Array(String), "items touched, oldest first, the most recent ones"),
        Feature("length", Int64, "how many items were touched in all", lowest=1),
    ),
    transformation=user_history,
    sources=("interactions",),
    description="What a user touched, as of the last touch; events extend it within a second.",
    chained=True,
    settings=("history_length", "collapse_repeats"),
    rules=("1 <= len(item_ids) <= length",),
    pushed=True,
)
USER_STATISTICS = View(
    name="user_statistics",
    entity=user,
    features=(
        *_counted(
            {
                "views": "products viewed",
                "adds": "products put into the cart",
                "orders": "ordered lines",
                "active_days": "days with at least one event",
            },
            WINDOWS,
            Int64,
        ),
        *_counted({"spend": "money spent, in the shop's currency"}, WINDOWS, Float64),
    ),
    transformation=user_statistics,
    sources=("events",),
    description="What a user did in the last 1, 7 and 30 days; a row whenever a value changes.",
    lookback=max(WINDOWS),
    retention=timedelta(days=730),
    rules=(
        *nested(("views", "adds", "orders", "active_days", "spend"), WINDOWS),
        *(f"active_days_{days}d <= {days}" for days in WINDOWS),
    ),
)
USER_COUNTERS = View(
    name="user_counters",
    entity=user,
    features=(
        Feature("views", Int64, "products viewed on that day", lowest=0),
        Feature("adds", Int64, "products put into the cart on that day", lowest=0),
        Feature("orders", Int64, "lines ordered on that day", lowest=0),
        Feature("spend", Float64, "money spent on that day", lowest=0),
    ),
    transformation=user_counters,
    sources=("events",),
    description="What a user did on the day of the last event; events update it within a second.",
    ttl=timedelta(days=1),
    retention=timedelta(days=730),
    pushed=True,
)
USER_PROFILE = View(
    name="user_profile",
    entity=user,
    features=(
        Feature("age", Int64, "in years", lowest=0, highest=150, nullable=True),
        Feature("gender", String, "as the user gave it", nullable=True),
        Feature("region", String, "where the user lives", nullable=True),
    ),
    transformation=user_profile,
    sources=("users",),
    description="What users have said of themselves.",
    partitioned=False,
    freshness=timedelta(days=3650),  # nobody has to say it again
)
USER_CATEGORIES = View(
    name="user_categories",
    entity=user,
    features=(
        Feature("categories", Array(String), "categories viewed, the most viewed first"),
        Feature("category_views", Array(Int64), "how often each of them was viewed"),
    ),
    transformation=user_categories,
    sources=("category_views",),
    description="Which categories a user viewed in the 30 days up to the last view.",
    lookback=30,
    retention=timedelta(days=730),
)
ITEM_STATISTICS = View(
    name="item_statistics",
    entity=item,
    features=(
        *_counted(
            {
                "times_viewed": "times viewed",
                "times_added": "times put into a cart",
                "times_ordered": "times ordered",
                "visitor_days": "distinct users a day, summed",
            },
            WINDOWS,
            Int64,
        ),
        *_counted({"conversion": "orders per view"}, WINDOWS, Float64),
    ),
    transformation=item_statistics,
    sources=("events",),
    description="How an item did in the last 1, 7 and 30 days; a row whenever a value changes.",
    lookback=max(WINDOWS),
    retention=timedelta(days=730),
    rules=nested(("times_viewed", "times_added", "times_ordered", "visitor_days"), WINDOWS),
)
ITEM_CONTENT = View(
    name="item_content",
    entity=item,
    features=(
        Feature("title", String, "name in the catalog"),
        Feature("description", String, "text in the catalog", nullable=True),
        Feature("category", String, "category in the catalog"),
        Feature("brand", String, "maker", nullable=True),
        Feature("price", Float64, "in the shop's currency", lowest=0),
    ),
    transformation=item_content,
    sources=("items",),
    description="The catalog's entry of an item.",
    partitioned=False,
    freshness=timedelta(days=3650),  # a catalog may rest
)
ITEM_AVAILABILITY = View(
    name="item_availability",
    entity=item,
    features=(
        Feature("stock", Int64, "pieces that can be sold", lowest=0),
        Feature("minimum_age", Int64, "age from which it may be shown", lowest=0, nullable=True),
        Feature("regions", Array(String), "where it may be shown; null: anywhere", nullable=True),
    ),
    transformation=item_availability,
    sources=("inventory",),
    description="What of an item may be shown to whom; an inventory system pushes changes.",
    partitioned=False,
    pushed=True,
)
ITEM_REVIEW_SENTIMENT = View(
    name="item_review_sentiment",
    entity=item,
    features=(
        *_counted({"reviews": "reviews written"}, REVIEW_WINDOWS, Int64),
        *(
            Feature(f"stars_{d}d", Float64, f"mean stars, last {d} days", 1, 5, nullable=True)
            for d in REVIEW_WINDOWS
        ),
        *(
            Feature(
                f"sentiment_{d}d",
                Float64,
                f"mean sentiment from −1 to 1, last {d} days",
                -1,
                1,
                nullable=True,
            )
            for d in REVIEW_WINDOWS
        ),
    ),
    transformation=item_review_sentiment,
    sources=("reviews",),
    description="What recent reviews say; a row whenever a value changes, and after each event.",
    lookback=max(REVIEW_WINDOWS),
    pushed=True,
    rules=nested(("reviews",), REVIEW_WINDOWS),
)
USER_RECOMMENDATIONS = View(
    name="user_recommendations",
    entity=user,
    features=(
        Feature("item_ids", Array(String), "the best items, the best first"),
        Feature("model", String, "name and version of the model that made the list"),
    ),
    transformation=user_recommendations,
    sources=("recommendations",),
    description="A list made beforehand by scripts/recommend_batch.py.",
    partitioned=False,
    freshness=timedelta(days=7),
    ttl=timedelta(days=30),
)
TELEMETRY_WINDOWS = View(
    name="telemetry_windows",
    entity=source,
    features=tuple(
        Feature(f"{metric}_{statistic}_{minutes}m", Float64, f"{text}, last {minutes} minutes")
        for metric in ("cpu", "memory", "latency_ms", "errors", "requests")
        for statistic, text in (("mean", f"mean of {metric}"), ("max", f"largest {metric}"))
        for minutes in (15, 60)
    ),
    transformation=telemetry_windows,
    sources=("telemetry",),
    description="A machine's last quarter of an hour and hour, at each of its measurements.",
    lookback=1,
    frequency=timedelta(minutes=15),
    freshness=timedelta(hours=1),
    ttl=timedelta(hours=1),
    retention=timedelta(days=90),
    rules=tuple(
        f"{metric}_mean_15m <= {metric}_max_15m <= {metric}_max_60m"
        for metric in ("cpu", "memory", "latency_ms", "errors", "requests")
    ),
)

VIEWS: tuple[View, ...] = (
    USER_HISTORY,
    USER_STATISTICS,
    USER_COUNTERS,
    USER_PROFILE,
    USER_CATEGORIES,
    USER_RECOMMENDATIONS,
    ITEM_STATISTICS,
    ITEM_CONTENT,
    ITEM_AVAILABILITY,
    ITEM_REVIEW_SENTIMENT,
    TELEMETRY_WINDOWS,
)
