"""Health and metrics in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import json_answer

PATHS: dict[str, Any] = {
    "/health/live": {
        "get": {
            "summary": "Is the process alive?",
            "responses": {"200": json_answer({"type": "object"}, {"status": "alive"}, "it is")},
        }
    },
    "/health/ready": {
        "get": {
            "summary": "Can it answer? (`degraded` means: with fallbacks)",
            "responses": {
                "200": json_answer(
                    {"type": "object"}, {"status": "ready", "model": "ok"}, "ready or degraded"
                ),
                "503": json_answer({"type": "object"}, {"status": "draining"}, "shutting down"),
            },
        }
    },
    "/metrics": {
        "get": {
            "summary": "Prometheus metrics",
            "responses": {"200": {"description": "text format", "content": {"text/plain": {}}}},
        }
    },
}
