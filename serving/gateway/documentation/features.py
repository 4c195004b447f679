"""Reading, pushing and describing features in the OpenAPI document."""

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

_OBJECT: dict[str, Any] = {"type": "object"}
_UNKNOWN = {
    "404": problem("an unknown view, version, feature or service; `near` names the nearest")
}
_VIEW = in_path("view", "user_history", "a view: `name`, or a version of it: `name@v2`, `name_v2`")
_AWAY = {"503": problem("the feature store does not answer")}
_STATUSES = ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]

_ROWS = {
    "view": "user_history",
    "version": 1,
    "key": "user_id",
    "rows": [
        {
            "user_id": "u000042",
            "features": {"item_ids": ["i00017", "i00003"], "length": 2},
            "statuses": {"item_ids": "PRESENT", "length": "PRESENT"},
            "event_timestamp": "2026-01-31T12:00:00+00:00",
        }
    ],
}
_COLUMNS = {
    "rows": 1,
    "entities": {"user_id": ["u000042"]},
    "features": [
        {
            "name": "user_history:length",
            "view": "user_history",
            "version": 1,
            "values": [2],
            "statuses": ["PRESENT"],
            "event_timestamps": ["2026-01-31T12:00:00+00:00"],
        }
    ],
}
_QUESTION: dict[str, Any] = {
    "type": "object",
    "required": ["entities"],
    "properties": {
        "features": {
            "type": "array",
            "items": {"type": "string"},
            "description": "`view:feature`, or `view` for all of its features",
        },
        "feature_service": {"type": "string", "description": "instead of `features`"},
        "entities": {
            "description": "columns, or a list of rows: keys, and what on-demand features are sent",
            "oneOf": [
                {"type": "object", "additionalProperties": {"type": "array"}},
                {"type": "array", "items": {"type": "object"}},
            ],
        },
    },
}
_PUSH: dict[str, Any] = {
    "type": "object",
    "required": ["rows"],
    "properties": {
        "rows": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "description": "the key, the view's features and event_timestamp, with its zone",
            },
        }
    },
}

PATHS: dict[str, Any] = {
    "/feature/{view}": {
        "get": {
            "summary": "A view's features of some keys",
            "description": "The key's parameter is named as the view's join key and may be repeated"
            f". Statuses are {', '.join(_STATUSES)}.",
            "operationId": "readView",
            "parameters": [
                _VIEW,
                in_query("user_id", "u000042", "here the view's key is user_id", required=True),
                in_query("features", "item_ids,length", "some of the view's features"),
            ],
            "responses": {
                "200": json_answer(_OBJECT, _ROWS, "one row a key, in order"),
                **_UNKNOWN,
                "422": problem("a missing or wrong key, an unknown parameter, too many keys"),
                **DENIED,
                **BUSY,
                **_AWAY,
            },
        }
    },
    "/v1/features": {
        "post": {
            "summary": "Features of many views and keys",
            "operationId": "readFeatures",
            "requestBody": json_body(
                _QUESTION,
                {"features": ["user_history:length"], "entities": {"user_id": ["u000042"]}},
            ),
            "responses": {
                "200": json_answer(_OBJECT, _COLUMNS, "one column a feature, in order"),
                **BODY,
                **_UNKNOWN,
                "422": problem("a missing or wrong key, or more rows or values than allowed"),
                **DENIED,
                **BUSY,
                **_AWAY,
            },
        }
    },
    "/v1/features/{view}/push": {
        "post": {
            "summary": "Publish rows of a view, online and offline",
            "description": "What is malformed refuses all rows; rows that break the view's rules "
            "are rejected with the reason and kept in quarantine.",
            "operationId": "push",
            "parameters": [_VIEW, REASON],
            "requestBody": json_body(
                _PUSH,
                {
                    "rows": [
                        {
                            "user_id": "u000042",
                            "item_ids": ["i00017", "i00003"],
                            "length": 2,
                            "event_timestamp": "2026-01-31T12:00:00Z",
                        }
                    ]
                },
            ),
            "responses": {
                "200": json_answer(
                    _OBJECT,
                    {
                        "view": "user_history",
                        "name": "user_history",
                        "version": 1,
                        "accepted": 1,
                        "rejected": [],
                    },
                    "how many were accepted, and why others were not",
                ),
                **BODY,
                **_UNKNOWN,
                "422": problem("an unknown field, a wrong type, an unclear time; `faults` lists"),
                **DENIED,
                **BUSY,
                **_AWAY,
            },
        }
    },
    "/v1/registry/views": {
        "get": {
            "summary": "Every view: definition, owner, version, freshness",
            "responses": {"200": json_answer(_OBJECT, {"views": []}, "by name"), **DENIED},
        }
    },
    "/v1/registry/views/{view}": {
        "get": {
            "summary": "One view: definition, owner, version, freshness",
            "parameters": [_VIEW],
            "responses": {
                "200": json_answer(
                    _OBJECT,
                    {
                        "view": "user_history",
                        "version": 1,
                        "owner": "millrace",
                        "freshness": {"promised_s": 172800.0, "age_s": 3600.0, "fresh": True},
                    },
                    "the view",
                ),
                **_UNKNOWN,
                **DENIED,
            },
        }
    },
    "/v1/registry/services": {
        "get": {
            "summary": "Every feature service and its features",
            "responses": {"200": json_answer(_OBJECT, {"services": []}, "by name"), **DENIED},
        }
    },
    "/v1/registry/services/{service}": {
        "get": {
            "summary": "One feature service",
            "parameters": [in_path("service", "recommender_v1", "its name")],
            "responses": {
                "200": json_answer(
                    _OBJECT,
                    {
                        "service": "recommender_v1",
                        "features": ["user_history:item_ids", "user_history:length"],
                        "versions": {"user_history": 1},
                    },
                    "the service",
                ),
                **_UNKNOWN,
                **DENIED,
            },
        }
    },
}
