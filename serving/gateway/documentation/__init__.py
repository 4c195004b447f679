"""The gateway's OpenAPI document, one module a topic, with examples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from serving.gateway.documentation import (
    access,
    anomalies,
    feast,
    features,
    operations,
    recommendations,
    sentiment,
    telemetry,
)
from serving.gateway.documentation.parts import PROBLEM, SECURITY_SCHEMES

_GUARDED = (recommendations, anomalies, telemetry, sentiment, features, feast, access)


def documented(paths: Collection[str]) -> dict[str, Any]:
    """The paths that a gateway has, and what they refer to."""
    described: dict[str, Any] = {}
    for topic in _GUARDED:
        for path, operations_ in topic.PATHS.items():
            described[path] = {
                method: {"security": [{"token": []}, {"key": []}], **operation}
                for method, operation in operations_.items()
            }
    described |= operations.PATHS
    return {
        "paths": {path: content for path, content in described.items() if path in paths},
        "components": {
            "schemas": {**recommendations.SCHEMAS, **anomalies.SCHEMAS, "Problem": PROBLEM},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }
