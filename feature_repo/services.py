"""Feature services: the features that one model reads, under the name that its artifact carries."""

from __future__ import annotations

# service → the views it takes whole
SERVICES = {
    "recommender_v1": ("user_history",),
    "retrieval_v1": ("user_history", "user_profile"),
    "ranking_v1": (
        "user_history",
        "user_statistics",
        "item_statistics",
        "item_content",
        "item_review_sentiment",
        "purchase_context",
    ),
    "ranking_v2": (
        "user_history",
        "user_statistics",
        "user_categories",
        "item_statistics",
        "item_content",
        "item_review_sentiment",
        "purchase_context",
        "category_context",
    ),
    "anomaly_v1": ("telemetry_windows",),
}
