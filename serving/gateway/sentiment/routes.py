"""POST /v1/sentiment: one text or thousands."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.bodies import json_response, read_object
from serving.gateway.problems import Problem
from serving.gateway.sentiment.service import Sentiment
from serving.gateway.torchserve import ModelUnavailableError

ACCEPTED = '{"text": "…"} or {"texts": ["…", …]}, and "explain": true or false'


class SentimentRoutes:
    """Answers texts; keeps nothing of them."""

    def __init__(self, sentiment: Sentiment) -> None:
        self.sentiment = sentiment

    async def post(self, request: Request) -> Response:
        """A lone text's answer is the answer; several give a list, refused ones among them.

        Raises:
            Problem: 422 for a body of another shape or a lone text that is none, 413 for too many
                texts, 503 while the model does not answer.
        """
        texts, explain, alone = self._parse(await read_object(request, ACCEPTED))
        try:
            answers = await self.sentiment.judge(texts, explain)
        except ModelUnavailableError as error:
            raise Problem(
                503,
                "model-unavailable",
                f"the texts were not judged: {error}",
                {"Retry-After": "1"},
            ) from error
        told = {
            "model": self.sentiment.name,
            "version": self.sentiment.version,
            "request_id": request.scope["request_id"],
        }
        if not alone:
            return json_response({"answers": answers, **told})
        (answer,) = answers
        if "error" in answer:
            status = 413 if answer["error"]["status"] == 413 else 422
            raise Problem(status, "invalid-text", answer["error"]["detail"], accepted=ACCEPTED)
        return json_response({**answer, **told})

    def _parse(self, body: dict[str, Any]) -> tuple[list[Any], bool, bool]:
        """Texts, whether to explain, and whether it is a lone text."""
        extra = sorted(set(body) - {"text", "texts", "explain"})
        if extra or ("text" in body) == ("texts" in body):
            found = f"unknown member {extra[0]!r}" if extra else "text and texts: one is needed"
            raise Problem(422, "invalid-request", found, accepted=ACCEPTED)
        explain = body.get("explain", False)
        if not isinstance(explain, bool):
            raise Problem(422, "invalid-request", f"explain is {explain!r}", accepted=ACCEPTED)
        if "text" in body:
            return [body["text"]], explain, True
        texts, limits = body["texts"], self.sentiment.limits
        if not isinstance(texts, list) or not texts:
            raise Problem(422, "invalid-request", "texts is no list of texts", accepted=ACCEPTED)
        most = limits.max_explained if explain else limits.max_texts
        if len(texts) > most:
            what = "texts to explain" if explain else "texts"
            raise Problem(
                413, "too-many-texts", f"{len(texts)} {what}; at most {most} in one call",
                accepted=f"1 to {most} texts",
            )  # fmt: skip
        return texts, explain, False
