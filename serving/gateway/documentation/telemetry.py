"""Taking telemetry in, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import BODY, DENIED, REASON, json_answer, problem

_EVENT = {"timestamp": "2026-01-31T12:00:00Z", "source": "web-1", "cpu_usage": 87, "memory": 54}
_REF = {"$ref": "#/components/schemas/TelemetryEvent"}
_REPORT = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer", "description": "events that are in the stream now"},
        "duplicates": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "lines whose event was on an earlier line",
        },
        "refused": {
            "type": "array",
            "items": {"type": "object"},
            "description": "line, field, detail, accepted",
        },
        "busy": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "lines of sources whose partition is full: send them again later",
        },
    },
}
_ALL = {"accepted": 2, "duplicates": [], "refused": [], "busy": []}
_SOME = {
    **_ALL,
    "refused": [
        {
            "line": 3,
            "field": "timestamp",
            "detail": 'timestamp is "2026-01-31T12:00:00", without a zone',
            "accepted": "an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z",
        }
    ],
}

PATHS: dict[str, Any] = {
    "/v1/telemetry": {
        "post": {
            "summary": "Put events into the stream",
            "description": "One event, a list of them, or NDJSON: one event a line. Lines count "
            "from 1. All good lines go into the stream together or not at all; refused ones go "
            "into the dead-letter stream with the reason. An event that is sent again counts once: "
            "a request that was not answered, or with 503, may be repeated as it is.",
            "operationId": "sendTelemetry",
            "parameters": [REASON],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"oneOf": [_REF, {"type": "array", "items": _REF}]},
                        "example": [_EVENT],
                    },
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "202": json_answer(_REPORT, _ALL, "every line is in the stream"),
                "207": json_answer(_REPORT, _SOME, "some lines are not"),
                **BODY,
                "422": problem("no line was taken; `report` says why"),
                "429": problem("the stream is full, nothing was taken; Retry-After says when"),
                "503": problem("the broker did not take them; `report` says which are unknown"),
                **DENIED,
            },
        }
    },
}
