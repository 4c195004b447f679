"""Feast's own protocol in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import (
    BODY,
    BUSY,
    DENIED,
    REASON,
    json_answer,
    json_body,
    problem,
)

_OBJECT: dict[str, Any] = {"type": "object"}
_FRAME = {
    "user_id": ["u000042"],
    "item_ids": [["i00017", "i00003"]],
    "length": [2],
    "event_timestamp": ["2026-01-31T12:00:00"],
}


def _post(summary: str, body: Any, answer: Any) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "tags": ["Feast"],
            "parameters": [REASON],
            "requestBody": json_body(_OBJECT, body),
            "responses": {
                "200": json_answer(_OBJECT, answer, "as Feast's feature server answers"),
                **BODY,
                "404": problem("an unknown view, feature, service or push source"),
                "422": problem("what cannot be read or written"),
                **DENIED,
                **BUSY,
            },
        }
    }


PATHS: dict[str, Any] = {
    "/get-online-features": _post(
        "Read as Feast's SDK does (`online_store: {type: remote}`)",
        {"features": ["user_history:length"], "entities": {"user_id": ["u000042"]}},
        {
            "metadata": {"feature_names": ["user_id", "length"]},
            "results": [
                {
                    "values": ["u000042"],
                    "statuses": ["PRESENT"],
                    "event_timestamps": ["1970-01-01T00:00:00Z"],
                },
                {
                    "values": [2],
                    "statuses": ["PRESENT"],
                    "event_timestamps": ["2026-01-31T12:00:00+00:00"],
                },
            ],
            "status": True,
        },
    ),
    "/push": _post(
        "Push as Feast's clients do; times without a zone are UTC",
        {"push_source_name": "user_history_push", "df": _FRAME, "to": "online_and_offline"},
        {"accepted": 1, "rejected": []},
    ),
    "/write-to-online-store": _post(
        "Write online as Feast's SDK does; times without a zone are UTC",
        {"feature_view_name": "user_history", "df": _FRAME},
        {"accepted": 1, "rejected": []},
    ),
}
