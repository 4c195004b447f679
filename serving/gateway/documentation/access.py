"""API keys and the audit log in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import (
    BODY,
    DENIED,
    REASON,
    in_path,
    in_query,
    json_answer,
    json_body,
    problem,
)

_OBJECT: dict[str, Any] = {"type": "object"}
_AWAY = {"503": problem("the metadata database does not answer")}
_KEY = {
    "id": "5f0c9e3e1c5b",
    "name": "nightly-batch",
    "roles": {"millrace": "writer"},
    "created_at": "2026-01-31T12:00:00+00:00",
    "created_by": "user:ada",
    "expires_at": "2026-05-01T12:00:00+00:00",
    "revoked_at": None,
    "revoked_by": None,
    "state": "active",
}
_EVENT = {
    "id": "0b5c2b9d7d0f4f5f9a7d1d0f2c3b4a59",
    "at": "2026-01-31T12:00:00+00:00",
    "project": "millrace",
    "who": "key:nightly-batch",
    "action": "push",
    "subject": "user_history",
    "rows": 1,
    "keys_hash": "9f86d081884c7d65",
    "why": "repair after incident 12",
    "outcome": "ok",
    "detail": "1 accepted, 0 rejected",
    "status": 200,
    "request_id": "5f0c9e3e1c5b4e0c8f5a6f2d9b7c1a2e",
    "client": "10.0.0.7",
}

PATHS: dict[str, Any] = {
    "/v1/audit": {
        "get": {
            "summary": "Who did what: every write, and every read that was denied; newest first",
            "operationId": "readAudit",
            "parameters": [
                in_query("who", "key:nightly-batch", "a caller; `key:*` for all API keys"),
                in_query("action", "push", "recommend, read, registry, push, keys.create, …"),
                in_query("outcome", "denied", "ok, denied, refused or failed"),
                in_query("subject", "user_history", "a view, a service or an API key"),
                in_query("request_id", "5f0c9e3e1c5b", "one request"),
                in_query("keys_hash", "9f86d081884c7d65", "one set of keys"),
                in_query("from", "2026-01-31", "a UTC day, or a moment with its zone"),
                in_query("to", "2026-02-01", "not included"),
                in_query("limit", 100, "how many"),
            ],
            "responses": {
                "200": json_answer(_OBJECT, {"events": [_EVENT]}, "the events"),
                "422": problem("an unknown or invalid parameter"),
                **DENIED,
                **_AWAY,
            },
        }
    },
    "/v1/keys": {
        "get": {
            "summary": "API keys, without their secrets",
            "responses": {
                "200": json_answer(_OBJECT, {"keys": [_KEY]}, "oldest first"),
                **DENIED,
                **_AWAY,
            },
        },
        "post": {
            "summary": "Make an API key; its secret is in this answer and nowhere else",
            "operationId": "createKey",
            "parameters": [REASON],
            "requestBody": json_body(
                {
                    "type": "object",
                    "required": ["name", "roles"],
                    "properties": {
                        "name": {"type": "string"},
                        "roles": {
                            "type": "object",
                            "description": "project, or `*`, → reader, writer or admin",
                        },
                        "expires_days": {"type": ["number", "null"]},
                    },
                },
                {"name": "nightly-batch", "roles": {"millrace": "writer"}, "expires_days": 90},
            ),
            "responses": {
                "201": json_answer(_OBJECT, {"key": "mk_5f0c9e3e1c5b_…", **_KEY}, "the key"),
                **BODY,
                "422": problem("an unknown role, or a name that was given before"),
                **DENIED,
                **_AWAY,
            },
        },
    },
    "/v1/keys/{key}": {
        "delete": {
            "summary": "Revoke an API key",
            "parameters": [in_path("key", "nightly-batch", "its name or id"), REASON],
            "responses": {
                "200": json_answer(_OBJECT, {**_KEY, "state": "revoked"}, "the key"),
                "404": problem("no such key"),
                **DENIED,
                **_AWAY,
            },
        }
    },
}
