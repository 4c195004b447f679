"""Feature services: the features that one model reads, under the name that its artifact carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_repo.store import feast

# service → the views it takes whole
SERVICES = {
    "recommender_v1": ("user_history",),
    "ranking_v1": (
        "user_history",
        "user_statistics",
        "item_statistics",
        "item_content",
        "item_review_sentiment",
        "purchase_context",
    ),
    "anomaly_v1": ("telemetry_windows",),
}


def feature_services(views: Mapping[str, Any]) -> list[Any]:
    """Every service whose views are all there."""
    return [
        feast().FeatureService(name=name, features=[views[v] for v in needed])
        for name, needed in SERVICES.items()
        if all(v in views for v in needed)
    ]
