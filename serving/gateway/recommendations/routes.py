"""Recommendations over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.bodies import json_response
from serving.gateway.microbatch import OverloadedError
from serving.gateway.prediction_log import PredictionLog
from serving.gateway.problems import Problem
from serving.gateway.questions import UserQuestion, parse_batch, parse_n, parse_user
from serving.gateway.recommendations.ask import BASKET, ONBOARDING
from serving.gateway.recommendations.questions import (
    ListQuestion,
    parse_items,
    parse_nested_context,
    parse_query,
)
from serving.gateway.recommendations.recommender import Answer
from serving.gateway.recommendations.service import Listed, Recommendations
from serving.gateway.recommendations.stages import Skipped

MAX_ITEM_ID = 256  # characters


class RecommendationRoutes:
    """Handlers over one gateway's recommendations.

    Args:
        contexts: what callers may say of the moment → its type.
        log: of what was answered; None: it is not kept.
    """

    def __init__(
        self,
        recommendations: Recommendations,
        contexts: Mapping[str, str],
        log: PredictionLog | None,
    ) -> None:
        self.own = recommendations
        self.limits = recommendations.limits
        self.contexts = contexts
        self.log = log

    async def recommend(self, request: Request) -> Response:
        """GET /recommend?user_id=…&n=…"""
        query, context = parse_query(request, self.contexts, "user_id", "n")
        user = parse_user(query.get("user_id"))
        question = UserQuestion(user, None, parse_n(query.get("n"), self.limits), context)
        return json_response(await self._user(question, request.scope["request_id"]))

    async def batch(self, request: Request) -> Response:
        """POST /v1/recommendations"""
        questions = await parse_batch(
            request, self.limits, lambda row: parse_nested_context(row, self.contexts)
        )
        # Each answer is shown by itself, and clicks are joined to it: it needs an id of its own.
        own = [f"{request.scope['request_id']}.{n}" for n in range(1, len(questions) + 1)]
        answers = await asyncio.gather(*map(self._user, questions, own))
        return json_response({"answers": answers})

    async def basket(self, request: Request) -> Response:
        """POST /v1/recommend/basket"""
        question = await parse_items(request, "items", self.limits, self.contexts)
        return json_response(await self._listed(request, question, BASKET))

    async def similar(self, request: Request) -> Response:
        """GET /v1/items/{id}/similar?n=…"""
        item = request.path_params["id"]
        n, context = self._listing(request)
        found = None
        if 0 < len(item) <= MAX_ITEM_ID:
            found = await self.own.similar(item, n, context)
        if found is None:
            raise Problem(
                404,
                "unknown-item",
                f"no similar items of {item[:40]!r} are known to model {self.own.name} "
                f"{self.own.version}",
                accepted="an item that was in the model's training data",
            )
        return json_response({"item_id": item, **self._pool(request, found)})

    async def trending(self, request: Request) -> Response:
        """GET /v1/trending?n=…"""
        n, context = self._listing(request)
        return json_response(self._pool(request, await self.own.trends(n, context)))

    async def offer(self, request: Request) -> Response:
        """GET /v1/onboarding?n=…"""
        query, context = parse_query(request, self.contexts, "n")
        n = parse_n(query.get("n", self.own.default_picks), self.limits)
        offered = await self.own.offer(n, context)
        return json_response(
            {
                "items": [{"item_id": item} for item in offered.pool.items],
                "reason": offered.reason,
                "skipped": _skips(offered.skipped),
                **self._about(request.scope["request_id"]),
            }
        )

    async def onboard(self, request: Request) -> Response:
        """POST /v1/onboarding"""
        question = await parse_items(request, "picks", self.limits, self.contexts)
        return json_response(await self._listed(request, question, ONBOARDING))

    def _listing(self, request: Request) -> tuple[int, dict[str, Any]]:
        query, context = parse_query(request, self.contexts, "n")
        return parse_n(query.get("n"), self.limits), context

    async def _listed(
        self, request: Request, question: ListQuestion, purpose: str
    ) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            answer = await self.own.recommender.for_history(
                question.items,
                question.n,
                question.context,
                purpose=purpose,
                user=question.user_id if purpose == BASKET else None,
                hide=True,
            )
        except OverloadedError as error:
            raise _busy(error) from error
        return self._told(request.scope["request_id"], question.user_id, answer, started)

    async def _user(self, question: UserQuestion, request_id: str) -> dict[str, Any]:
        started = time.perf_counter()
        own, context = self.own.recommender, question.context
        try:
            if question.user_id is not None:
                answer = await own.for_user(question.user_id, question.n, context)
            else:
                answer = await own.for_history(question.history or [], question.n, context)
        except OverloadedError as error:
            raise _busy(error) from error
        return self._told(request_id, question.user_id, answer, started)

    def _told(
        self, request_id: str, user: str | None, answer: Answer, started: float
    ) -> dict[str, Any]:
        """The answer as JSON; and into the log, as it was given."""
        shown = answer.shown
        if self.log is not None:
            self.log.append(
                request_id=request_id,
                user_id=user,
                model=self.own.name,
                version=self.own.version,
                variant=None,
                source=answer.source,
                reason=answer.reason,
                features=answer.served.features if answer.served else None,
                feature_timestamp=answer.served.timestamp if answer.served else None,
                items=shown.items,
                scores=shown.scores,
                propensity=shown.propensities,
                policy=shown.policy,
                skipped=[f"{s.stage}: {s.reason}" for s in answer.skipped],
                latency_ms=(time.perf_counter() - started) * 1000,
                ranker=answer.ranker[0] if answer.ranker else None,
                ranker_version=answer.ranker[1] if answer.ranker else None,
                ranker_features=shown.given,
            )
        return {
            "user_id": user,
            "items": [
                {"item_id": item, "score": score, "reasons": [r.as_json() for r in reasons]}
                for item, score, reasons in zip(
                    shown.items, shown.scores, shown.reasons, strict=True
                )
            ],
            "source": answer.source,
            "reason": answer.reason,
            "skipped": _skips(answer.skipped),
            "ranker": _model(answer.ranker),
            **self._about(request_id),
        }

    def _pool(self, request: Request, listed: Listed) -> dict[str, Any]:
        pool = listed.pool
        return {
            "items": [
                {"item_id": item, "score": score}
                for item, score in zip(pool.items, pool.scores, strict=True)
            ],
            "reason": listed.reason,
            "skipped": _skips(listed.skipped),
            **self._about(request.scope["request_id"]),
        }

    def _about(self, request_id: str) -> dict[str, Any]:
        return {
            "model": self.own.name,
            "version": self.own.version,
            "request_id": request_id,
        }


def _skips(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    return [{"stage": s.stage, "reason": s.reason} for s in skipped]


def _model(named: Sequence[str] | None) -> dict[str, str] | None:
    return None if named is None else {"model": named[0], "version": named[1]}


def _busy(error: OverloadedError) -> Problem:
    return Problem(
        429, "too-many-requests", f"{error}; try again in a second", {"Retry-After": "1"}
    )
