"""What the pages of the OpenAPI document share."""

from __future__ import annotations

from typing import Any

PROBLEM: dict[str, Any] = {
    "description": "RFC 9457 problem details",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "accepted": {"type": "string", "description": "what would be accepted"},
    },
}

SECURITY_SCHEMES: dict[str, Any] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "a token of the OpenID Connect issuer, or an API key",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def problem(text: str) -> dict[str, Any]:
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": text, "content": {"application/problem+json": reference}}


def json_answer(schema: dict[str, Any], example: Any, text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def json_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


def in_path(name: str, example: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": example,
        "description": text,
    }


def in_query(name: str, example: Any, text: str, required: bool = False) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": {"type": kind},
        "example": example,
        "description": text,
    }


BUSY = {"429": problem("overloaded; Retry-After says when to come back")}
DENIED = {
    "401": problem("no credentials, or bad ones; `reason` says why"),
    "403": problem("the caller lacks `missing_permission` in `project`"),
}
BODY = {
    "400": problem("the body is not JSON"),
    "413": problem("the body is too large"),
    "415": problem("the content type is not application/json"),
}
REASON = {
    "name": "X-Reason",
    "in": "header",
    "schema": {"type": "string", "maxLength": 1000},
    "description": "why; kept in the audit log",
    "example": "repair after incident 12",
}
