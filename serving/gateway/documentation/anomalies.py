"""Judging events, what was found and what people say of it, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import (
    BODY,
    BUSY,
    DENIED,
    REASON,
    in_path,
    in_query,
    json_answer,
    json_body,
    problem,
)

_REASON = {"field": "cpu_usage", "value": 87.0, "expected": 41.3, "contribution": 4.2}
_JUDGED = {
    "anomaly": True,
    "score": 5.1,
    "threshold": 3.4,
    "severity": "major",
    "reasons": [_REASON],
    "status": "anomaly",
    "missing": [],
    "ignored": ["fan_speed"],
    "source": "web-1",
    "event_id": "4d0f5d0c1a8a4f0e9c5a7f3f6e2b1a90",
    "threshold_from": "source",
    "window": {"length": 1, "given": 1},
    "model": "anomaly",
    "version": "20260131-120000-000",
    "request_id": "5f0c9e3e1c5b4e0c8f5a6f2d9b7c1a2e",
}
_FOUND: dict[str, Any] = {
    "id": "4d0f5d0c1a8a4f0e9c5a7f3f6e2b1a90",
    "source": "web-1",
    "timestamp": "2026-01-31T12:00:00Z",
    "detected_at": "2026-01-31T12:00:00.120000Z",
    "status": "anomaly",
    "severity": "major",
    "score": 5.1,
    "threshold": 3.4,
    "reasons": [_REASON],
    "failure": None,
    "model": "anomaly",
    "version": "20260131-120000-000",
    "verdict": None,
}
_VERDICT = {
    "verdict": "confirmed",
    "reason": "disk of web-1 was full",
    "who": "user:ada",
    "at": "2026-01-31T12:03:00Z",
}
_FIGURES = {"anomalies": 12, "confirmed": 6, "dismissed": 2, "open": 4, "precision": 0.75}

SCHEMAS: dict[str, Any] = {
    "TelemetryEvent": {
        "type": "object",
        "description": "a flat object: every other key is a field, a number or null",
        "required": ["timestamp"],
        "properties": {
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "with its zone; not in the future, not older than ten years",
            },
            "source": {"type": "string", "default": "default", "maxLength": 255},
            "messageId": {
                "type": "string",
                "maxLength": 64,
                "description": "an event that comes again counts once; without it, an event's "
                "source and timestamp are its identity",
            },
        },
        "additionalProperties": {"type": ["number", "null"]},
    },
    "JudgedEvent": {
        "type": "object",
        "required": ["status", "request_id"],
        "properties": {
            "anomaly": {"type": ["boolean", "null"], "description": "null: nobody knows"},
            "score": {
                "type": ["number", "null"],
                "description": "−log10 of the share of normal events that score as high",
            },
            "threshold": {"type": "number", "description": "a higher score is an anomaly"},
            "threshold_from": {
                "enum": ["source", "cold_start", "model", "store_unavailable"],
                "description": "the source's own; where the stream begins with a source that it "
                "has not seen; the model's, where no stream has run it; or one of the last two, "
                "because the store does not answer",
            },
            "severity": {"enum": [None, "info", "warning", "major", "critical"]},
            "reasons": {
                "type": "array",
                "description": "fields by their part of the score, the greatest first",
                "items": {"type": "object"},
            },
            "status": {"enum": ["normal", "anomaly", "to_review", "refused"]},
            "missing": {"type": "array", "items": {"type": "string"}},
            "ignored": {"type": "array", "items": {"type": "string"}},
            "window": {"type": "object", "description": "events that the model looks at"},
            "failure": {"type": "string", "description": "of to_review: what failed"},
            "error": {"type": "object", "description": "of refused: field, detail, accepted"},
        },
    },
}

_EVENT = {"$ref": "#/components/schemas/TelemetryEvent"}
_JUDGED_REF = {"$ref": "#/components/schemas/JudgedEvent"}
_AWAY = {"503": problem("the anomaly store does not answer")}
_UNKNOWN = {"404": problem("there is no anomaly of this id")}
_ID = in_path("id", _FOUND["id"], "of the event: its messageId, or the id that it was given")
_PERIOD = [
    in_query("since", "2026-01-31", "a UTC day, or a moment with its zone; of the event"),
    in_query("until", "2026-02-01T12:00:00Z", "the same; not included"),
]

PATHS: dict[str, Any] = {
    "/predict": {
        "post": {
            "summary": "Is this event abnormal, how much, and why?",
            "description": "One event, or a list of them; nothing is kept. A model of windows "
            "longer than 1 looks at earlier events of the source, which an event may bring as "
            "`history`, oldest first; without them the front of the window counts as missing. "
            "Fields that the model does not know are left out and listed in `ignored`; those that "
            "the event lacks are imputed and listed in `missing`.",
            "operationId": "predict",
            "requestBody": json_body(
                {"oneOf": [_EVENT, {"type": "array", "minItems": 1, "items": _EVENT}]},
                {"timestamp": "2026-01-31T12:00:00Z", "cpu_usage": 87, "memory": 54},
            ),
            "responses": {
                "200": json_answer(
                    {
                        "oneOf": [
                            _JUDGED_REF,
                            {
                                "type": "object",
                                "properties": {"answers": {"type": "array", "items": _JUDGED_REF}},
                            },
                        ]
                    },
                    _JUDGED,
                    "of a list: `answers`, one for each event, in order",
                ),
                **BODY,
                "422": problem("an event that cannot be taken; names the field and what would be"),
                "503": problem("not scored: `answer` has the status `to_review`, never `normal`"),
                **DENIED,
                **BUSY,
            },
        }
    },
    "/v1/anomalies": {
        "get": {
            "summary": "What was found, the newest first",
            "operationId": "listAnomalies",
            "parameters": [
                *_PERIOD,
                in_query("source", "web-1", "one source"),
                in_query("severity", "major,critical", "info, warning, major, critical"),
                in_query("verdict", "none", "confirmed, dismissed, none"),
                in_query("status", "anomaly", "anomaly, to_review"),
                in_query("limit", 100, "anomalies in the answer"),
                in_query("cursor", "WzE3Nj…", "the `cursor` of the answer before"),
            ],
            "responses": {
                "200": json_answer(
                    {"type": "object"},
                    {"anomalies": [_FOUND], "cursor": None},
                    "`cursor` is null where there are no more",
                ),
                "422": problem("an unknown parameter or a wrong value; says what is accepted"),
                **DENIED,
                **_AWAY,
            },
        }
    },
    "/v1/anomalies/precision": {
        "get": {
            "summary": "How many of the anomalies that people looked at were right",
            "description": "confirmed / (confirmed + dismissed), of all and by source, severity, "
            "model version and UTC day. The newest verdict on an anomaly counts; events that could "
            "not be scored are no alarms and not counted.",
            "operationId": "anomalyPrecision",
            "parameters": _PERIOD,
            "responses": {
                "200": json_answer(
                    {"type": "object"},
                    {
                        "overall": _FIGURES,
                        "by": {
                            "source": [{"source": "web-1", **_FIGURES}],
                            "severity": [{"severity": "major", **_FIGURES}],
                            "version": [{"version": "20260131-120000-000", **_FIGURES}],
                            "day": [{"day": "2026-01-31", **_FIGURES}],
                        },
                    },
                    "precision is null where nobody has said anything",
                ),
                "422": problem("an unknown parameter or a wrong value"),
                **DENIED,
                **_AWAY,
            },
        }
    },
    "/v1/anomalies/{id}": {
        "get": {
            "summary": "One anomaly, with all that people said of it",
            "operationId": "readAnomaly",
            "parameters": [_ID],
            "responses": {
                "200": json_answer(
                    {"type": "object"},
                    {**_FOUND, "verdict": _VERDICT, "verdicts": [_VERDICT]},
                    "`verdict` is the one that counts: the newest",
                ),
                **_UNKNOWN,
                **DENIED,
                **_AWAY,
            },
        }
    },
    "/v1/anomalies/{id}/verdict": {
        "post": {
            "summary": "Say whether an anomaly was one",
            "description": "Recalibrates the source's threshold and becomes a label for training. "
            "Who says it is read from the credentials; where none are asked for, from `who`.",
            "operationId": "giveVerdict",
            "parameters": [_ID, REASON],
            "requestBody": json_body(
                {
                    "type": "object",
                    "required": ["verdict"],
                    "properties": {
                        "verdict": {"enum": ["confirm", "dismiss"]},
                        "reason": {"type": "string", "maxLength": 2000},
                        "who": {"type": "string", "maxLength": 255},
                    },
                },
                {"verdict": "confirm", "reason": "disk of web-1 was full"},
            ),
            "responses": {
                "201": json_answer(
                    {"type": "object"},
                    {"id": _FOUND["id"], "verdict": _VERDICT, "verdicts": [_VERDICT]},
                    "it counts from now on",
                ),
                **BODY,
                **_UNKNOWN,
                "409": problem("this is the verdict already; `current` says whose"),
                "422": problem("an unknown verdict or field"),
                **DENIED,
                **_AWAY,
            },
        }
    },
}
