"""The gateway's answers over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.bodies import json_response
from serving.gateway.microbatch import OverloadedError
from serving.gateway.problems import Problem
from serving.gateway.questions import Limits, UserQuestion, parse_batch, parse_n, parse_user
from serving.gateway.recommender import Answer, Recommender
from serving.gateway.state import GatewayState


class Routes:
    """Handlers over one gateway's state."""

    def __init__(self, state: GatewayState) -> None:
        self.state = state

    @property
    def recommender(self) -> Recommender:
        assert self.state.recommender is not None, "without an artifact these routes are not there"
        return self.state.recommender

    @property
    def limits(self) -> Limits:
        return self.state.limits

    async def recommend(self, request: Request) -> Response:
        """GET /recommend?user_id=…&n=…"""
        query = request.query_params
        user = parse_user(query.get("user_id"))
        question = UserQuestion(user, None, parse_n(query.get("n"), self.limits))
        return json_response(await self._answer(request, question))

    async def recommend_batch(self, request: Request) -> Response:
        """POST /v1/recommendations"""
        questions = await parse_batch(request, self.limits)
        answers = await asyncio.gather(*(self._answer(request, q) for q in questions))
        return json_response({"answers": answers})

    async def live(self, request: Request) -> Response:
        """GET /health/live: the process answers."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready: 200 while answers can be given, if only fallbacks; 503 in a drain.

        `model` is the worst of `models`: a fallback, or "to review", is what callers get of it.
        """
        models = {
            name: {
                "state": "ok" if part.breaker.state == "closed" else "unavailable",
                "version": part.version,
            }
            for name, part in self.state.models.items()
        }
        states = {told["state"] for told in models.values()}
        model = "none" if not models else "unavailable" if "unavailable" in states else "ok"
        if self.state.draining:
            return json_response({"status": "draining", "model": model}, 503)
        answer: dict[str, Any] = {
            "status": "degraded" if model == "unavailable" else "ready",
            "model": model,
        }
        if models:
            answer |= {"version": self.state.version, "models": models}
        return json_response(answer)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics in Prometheus' text format."""
        self.state.measure()
        text = generate_latest(self.state.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def _answer(self, request: Request, question: UserQuestion) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            if question.user_id is not None:
                answer = await self.recommender.for_user(question.user_id, question.n)
            else:
                answer = await self.recommender.for_history(question.history or [], question.n)
        except OverloadedError as error:
            raise Problem(
                429, "too-many-requests", f"{error}; try again in a second", {"Retry-After": "1"}
            ) from error
        self._log(request, question, answer, started)
        return {
            "user_id": question.user_id,
            "items": [
                {"item_id": item, "score": score}
                for item, score in zip(*answer.ranking, strict=True)
            ],
            "source": answer.source,
            "reason": answer.reason,
            "model": self.state.model_name,
            "version": self.recommender.version,
            "request_id": request.scope["request_id"],
        }

    def _log(
        self, request: Request, question: UserQuestion, answer: Answer, started: float
    ) -> None:
        if self.state.log is not None:
            self.state.log.append(
                request_id=request.scope["request_id"],
                user_id=question.user_id,
                model=self.state.model_name,
                version=self.recommender.version,
                variant=None,
                source=answer.source,
                reason=answer.reason,
                features=answer.served.features if answer.served else None,
                feature_timestamp=answer.served.timestamp if answer.served else None,
                items=answer.ranking.items,
                scores=answer.ranking.scores,
                latency_ms=(time.perf_counter() - started) * 1000,
            )
