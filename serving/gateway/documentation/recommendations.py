"""Recommendations in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import BUSY, DENIED, json_answer, problem

_ANSWER = {
    "user_id": "u000042",
    "items": [{"item_id": "i00017", "score": 7.31}, {"item_id": "i00003", "score": 6.9}],
    "source": "model",
    "reason": None,
    "model": "recommender",
    "version": "20260131-120000-000",
    "request_id": "5f0c9e3e1c5b4e0c8f5a6f2d9b7c1a2e",
}

SCHEMAS: dict[str, Any] = {
    "Answer": {
        "type": "object",
        "required": ["items", "source", "model", "version", "request_id"],
        "properties": {
            "user_id": {"type": ["string", "null"]},
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["item_id", "score"],
                    "properties": {
                        "item_id": {"type": "string"},
                        "score": {"type": "number", "description": "orders items; no probability"},
                    },
                },
            },
            "source": {"enum": ["model", "cache", "popular"]},
            "reason": {
                "description": "why the list is not the model's",
                "enum": [
                    None,
                    "unknown_user",
                    "no_known_items",
                    "model_unavailable",
                    "features_unavailable",
                    "deadline",
                ],
            },
            "model": {"type": "string"},
            "version": {"type": "string"},
            "request_id": {"type": "string"},
        },
    },
}

_ANSWER_REF = {"$ref": "#/components/schemas/Answer"}

PATHS: dict[str, Any] = {
    "/recommend": {
        "get": {
            "summary": "Recommend items to a user",
            "operationId": "recommend",
            "parameters": [
                {
                    "name": "user_id",
                    "in": "query",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
                    "example": "u000042",
                },
                {
                    "name": "n",
                    "in": "query",
                    "schema": {"type": "integer", "minimum": 1, "default": 10},
                    "description": "how many items; at most the model's list length",
                    "example": 10,
                },
            ],
            "responses": {
                "200": json_answer(
                    _ANSWER_REF, _ANSWER, "a ranked list; popular items when unknown"
                ),
                "422": problem("a missing or invalid parameter"),
                **DENIED,
                **BUSY,
            },
        }
    },
    "/v1/recommendations": {
        "post": {
            "summary": "Recommend items to many users, or after histories you bring",
            "operationId": "recommendBatch",
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["requests"],
                            "properties": {
                                "requests": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "type": "object",
                                        "properties": {
                                            "user_id": {"type": "string"},
                                            "history": {
                                                "type": "array",
                                                "items": {"type": "string"},
                                            },
                                            "n": {"type": "integer", "minimum": 1},
                                        },
                                    },
                                }
                            },
                        },
                        "example": {
                            "requests": [
                                {"user_id": "u000042", "n": 5},
                                {"history": ["i00017", "i00003"], "n": 3},
                            ]
                        },
                    }
                },
            },
            "responses": {
                "200": json_answer(
                    {
                        "type": "object",
                        "properties": {"answers": {"type": "array", "items": _ANSWER_REF}},
                    },
                    {"answers": [_ANSWER]},
                    "one answer for each request, in order",
                ),
                "400": problem("the body is not JSON"),
                "413": problem("the body is too large"),
                "415": problem("the content type is not application/json"),
                "422": problem("an invalid request; the detail names its index"),
                **DENIED,
                **BUSY,
            },
        }
    },
}
