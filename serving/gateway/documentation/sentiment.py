"""Judging texts, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.gateway.documentation.parts import BODY, BUSY, DENIED, json_answer, json_body, problem

_ANSWER = {
    "label": "positive",
    "probabilities": {"negative": 0.04, "positive": 0.96},
    "abstained": False,
    "reason": None,
    "pieces": 1,
    "language": "en",
    "outside_language": False,
}
_TOLD = {
    "model": "sentiment",
    "version": "20260131-120000-000",
    "request_id": "5f0c9e3e1c5b4e0c8f5a6f2d9b7c1a2e",
}
_QUESTION = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "texts": {"type": "array", "items": {"type": "string"}},
        "explain": {
            "type": "boolean",
            "description": "also say how much each token moves the leading class's probability",
        },
    },
}

PATHS: dict[str, Any] = {
    "/v1/sentiment": {
        "post": {
            "summary": "What texts say",
            "description": "One `text`, or many `texts`. Probabilities are calibrated; a text "
            'whose leading class is not sure enough, or without a known word, is "unsure". Long '
            "texts are read in pieces, to their end. Among several texts, one that cannot be "
            "judged has an `error` in its place.",
            "operationId": "judgeTexts",
            "requestBody": json_body(_QUESTION, {"texts": ["Lovely!", "Broke within days."]}),
            "responses": {
                "200": json_answer({"type": "object"}, {**_ANSWER, **_TOLD}, "the answer, or all"),
                **BODY,
                **BUSY,
                **DENIED,
                "413": problem("too many texts, or one that is too long; the limit is told"),
                "422": problem("the body has another shape, or the text is none"),
                "503": problem("the model does not answer"),
            },
        }
    }
}
