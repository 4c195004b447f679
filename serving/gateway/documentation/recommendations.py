"""Recommendations in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import (
    BODY,
    BUSY,
    DENIED,
    in_path,
    in_query,
    json_answer,
    json_body,
    problem,
)

_ABOUT = {
    "model": "recommender",
    "version": "20260131-120000-000",
    "request_id": "5f0c9e3e1c5b4e0c8f5a6f2d9b7c1a2e",
}
_REASON = {"kind": "because_you_viewed", "item_id": "i00021", "text": "because you viewed Lamp 21"}
_ANSWER = {
    "user_id": "u000042",
    "items": [
        {"item_id": "i00017", "score": 1.18, "reasons": [_REASON]},
        {
            "item_id": "i00003",
            "score": 0.99,
            "reasons": [
                {"kind": "model", "item_id": None, "text": "fits what you looked at lately"}
            ],
        },
    ],
    "source": "model",
    "reason": None,
    "skipped": [],
    "ranker": {"model": "ranker", "version": "20260301-121500-480"},
    **_ABOUT,
}
_LISTED = {"items": [{"item_id": "i00017", "score": 0.41}], "skipped": [], **_ABOUT}

_SKIPPED = {
    "type": "array",
    "description": "stages that the answer was made without, and why",
    "items": {
        "type": "object",
        "properties": {
            "stage": {"type": "string", "examples": ["candidates.sequential", "ranker"]},
            "reason": {
                "enum": [
                    "deadline",
                    "model_unavailable",
                    "features_unavailable",
                    "overloaded",
                    "would_leave_nothing",
                    "failed",
                ]
            },
        },
    },
}
_ITEM = {
    "type": "object",
    "required": ["item_id", "score"],
    "properties": {
        "item_id": {"type": "string"},
        "score": {"type": "number", "description": "orders items; no probability"},
    },
}
_COMMON = {
    "skipped": _SKIPPED,
    "model": {"type": "string"},
    "version": {"type": "string"},
    "request_id": {"type": "string", "description": "of this answer in the prediction log"},
}

SCHEMAS: dict[str, Any] = {
    "Answer": {
        "type": "object",
        "required": ["items", "source", "skipped", "ranker", "model", "version", "request_id"],
        "properties": {
            "user_id": {"type": ["string", "null"]},
            "items": {
                "type": "array",
                "items": {
                    **_ITEM,
                    "properties": {
                        **_ITEM["properties"],  # type: ignore[dict-item]
                        "reasons": {
                            "type": "array",
                            "description": "why it is here, the strongest first",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "kind": {
                                        "enum": [
                                            "because_you_viewed",
                                            "because_you_picked",
                                            "goes_with",
                                            "model",
                                            "precomputed",
                                            "new",
                                            "trending",
                                            "popular",
                                        ]
                                    },
                                    "item_id": {"type": ["string", "null"]},
                                    "text": {"type": "string"},
                                },
                            },
                        },
                    },
                },
            },
            "source": {
                "description": "where the list mainly comes from; cache: from a kept ranking",
                "enum": [
                    "model", "cache", "precomputed", "neighbours", "trending", "new", "popular",
                ],
            },
            "reason": {
                "description": "why the list is not the model's, or empty",
                "enum": [
                    None,
                    "unknown_user",
                    "no_known_items",
                    "nothing_precomputed",
                    "model_unavailable",
                    "features_unavailable",
                    "deadline",
                    "overloaded",
                    "failed",
                    "all_filtered",
                ],
            },
            "ranker": {
                "type": ["object", "null"],
                "description": "the ranking model that put the list in order; null: the blend did",
                "properties": {"model": {"type": "string"}, "version": {"type": "string"}},
            },
            **_COMMON,
        },
    },
    "Items": {
        "type": "object",
        "required": ["items", "reason", "skipped", "model", "version", "request_id"],
        "properties": {
            "items": {"type": "array", "items": _ITEM},
            "reason": {
                "description": "why the list is empty",
                "enum": [None, "all_filtered", "no_neighbours"],
            },
            **_COMMON,
        },
    },
}  # fmt: skip

_ANSWER_REF = {"$ref": "#/components/schemas/Answer"}
_ITEMS_REF = {"$ref": "#/components/schemas/Items"}
_CONTEXT = {
    "type": "object",
    "description": "what is to be known of the moment, as gateway.recommendations.context names it",
    "properties": {"region": {"type": "string"}, "age": {"type": "integer"}},
}
_N = in_query("n", 10, "how many items; at most the model's list length")
_MOMENT = [
    in_query("region", "de", "only items that may be shown there, where the catalog says it"),
    in_query("age", 30, "only items from this age on, where the catalog says it"),
]
_INVALID = {"422": problem("a missing or invalid parameter")}
_IDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}

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
                _N,
                *_MOMENT,
            ],
            "responses": {
                "200": json_answer(
                    _ANSWER_REF, _ANSWER, "a ranked list; popular items when unknown"
                ),
                **_INVALID,
                **DENIED,
                **BUSY,
            },
        }
    },
    "/v1/recommendations": {
        "post": {
            "summary": "Recommend items to many users, or after histories you bring",
            "operationId": "recommendBatch",
            "requestBody": json_body(
                {
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
                                    "history": {"type": "array", "items": {"type": "string"}},
                                    "n": {"type": "integer", "minimum": 1},
                                    "context": _CONTEXT,
                                },
                            },
                        }
                    },
                },
                {
                    "requests": [
                        {"user_id": "u000042", "n": 5},
                        {"history": ["i00017", "i00003"], "n": 3},
                    ]
                },
            ),
            "responses": {
                "200": json_answer(
                    {
                        "type": "object",
                        "properties": {"answers": {"type": "array", "items": _ANSWER_REF}},
                    },
                    {"answers": [_ANSWER]},
                    "one answer for each request, in order",
                ),
                **BODY,
                "422": problem("an invalid request; the detail names its index"),
                **DENIED,
                **BUSY,
            },
        }
    },
    "/v1/recommend/basket": {
        "post": {
            "summary": "Recommend items to go with those of a basket",
            "operationId": "recommendForBasket",
            "requestBody": json_body(
                {
                    "type": "object",
                    "required": ["items"],
                    "properties": {
                        "items": _IDS,
                        "user_id": {"type": "string", "description": "whose history counts too"},
                        "n": {"type": "integer", "minimum": 1},
                        "context": _CONTEXT,
                    },
                },
                {"items": ["i00017", "i00003"], "n": 5},
            ),
            "responses": {
                "200": json_answer(
                    _ANSWER_REF, _ANSWER, "a ranked list without the basket's items"
                ),
                **BODY,
                **_INVALID,
                **DENIED,
                **BUSY,
            },
        }
    },
    "/v1/items/{id}/similar": {
        "get": {
            "summary": "Items that the same users touch",
            "operationId": "similarItems",
            "parameters": [in_path("id", "i00017", "an item"), _N, *_MOMENT],
            "responses": {
                "200": json_answer(
                    _ITEMS_REF, {"item_id": "i00021", **_LISTED}, "the most similar items"
                ),
                "404": problem("nobody knows the item, or what it is similar to"),
                **_INVALID,
                **DENIED,
            },
        }
    },
    "/v1/trending": {
        "get": {
            "summary": "What many look at now",
            "operationId": "trending",
            "parameters": [_N, *_MOMENT],
            "responses": {
                "200": json_answer(
                    _ITEMS_REF, _LISTED, "items by decayed counts, then popular ones with score 0"
                ),
                **_INVALID,
                **DENIED,
            },
        }
    },
    "/v1/onboarding": {
        "get": {
            "summary": "Well-known, different items for somebody new to pick from",
            "operationId": "onboardingItems",
            "parameters": [_N, *_MOMENT],
            "responses": {
                "200": json_answer(
                    {
                        "type": "object",
                        "properties": {
                            "items": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {"item_id": {"type": "string"}},
                                },
                            },
                            **_COMMON,
                        },
                    },
                    {"items": [{"item_id": "i00017"}], "skipped": [], **_ABOUT},
                    "items to show",
                ),
                **_INVALID,
                **DENIED,
            },
        },
        "post": {
            "summary": "Recommend items after a few picks",
            "operationId": "onboard",
            "requestBody": json_body(
                {
                    "type": "object",
                    "required": ["picks"],
                    "properties": {
                        "picks": _IDS,
                        "user_id": {"type": "string", "description": "for the prediction log"},
                        "n": {"type": "integer", "minimum": 1},
                        "context": _CONTEXT,
                    },
                },
                {"picks": ["i00017", "i00003", "i00040"], "n": 5},
            ),
            "responses": {
                "200": json_answer(_ANSWER_REF, _ANSWER, "a ranked list without the picks"),
                **BODY,
                **_INVALID,
                **DENIED,
                **BUSY,
            },
        },
    },
}
