"""POST /predict: is this event abnormal, how much, and why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from pipelines.anomalies.severity import SeverityScale
from pipelines.anomalies.store import ANOMALY, TO_REVIEW
from serving.gateway.anomalies.bodies import read_any
from serving.gateway.anomalies.events import Event, EventError, EventReader
from serving.gateway.anomalies.metrics import AnomalyMetrics
from serving.gateway.anomalies.rows import reasons
from serving.gateway.anomalies.scorer import Scorer, ScoringFailedError
from serving.gateway.anomalies.thresholds import InForce, ThresholdCache
from serving.gateway.bodies import json_response
from serving.gateway.microbatch import OverloadedError
from serving.gateway.problems import Problem

NORMAL, REFUSED = "normal", "refused"


class PredictionRoutes:
    """Judges events that callers bring; keeps nothing of them.

    Args:
        max_events: in one request.
        max_reasons: fields named in an answer, the greatest contributions first.
    """

    def __init__(
        self,
        scorer: Scorer,
        thresholds: ThresholdCache,
        reader: EventReader,
        severity: SeverityScale,
        metrics: AnomalyMetrics,
        max_events: int,
        max_reasons: int,
    ) -> None:
        self.scorer = scorer
        self.thresholds = thresholds
        self.reader = reader
        self.severity = severity
        self.metrics = metrics
        self.max_events = max_events
        self.max_reasons = max_reasons

    async def predict(self, request: Request) -> Response:
        """POST /predict with one event, or a list of them.

        One event that is malformed gives 422, and one that could not be scored 503, with the answer
        `to_review`. Of a list, each event has its own answer, and the whole is 200 unless none of
        them was answered.
        """
        body = await read_any(request)
        many = isinstance(body, list)
        messages = body if many else [body]
        if not 1 <= len(messages) <= self.max_events:
            raise Problem(
                422,
                "invalid-events",
                f"the body holds {len(messages)} events",
                accepted=f"one event, or a list of 1 to {self.max_events}",
            )
        now = datetime.now(UTC)
        events = [self._read(message, now) for message in messages]
        good = [e for e in events if isinstance(e, Event)]
        thresholds = await self.thresholds.of({e.source for e in good})
        answers = await asyncio.gather(*(self._answer(request, e, thresholds) for e in events))
        self.metrics.breaker_open.set(self.scorer.breaker.state != "closed")
        for answer in answers:
            self.metrics.answers.labels(answer["status"]).inc()
        if not many:
            return json_response(_alone(answers[0]))
        _require_some(answers)
        return json_response({"answers": answers})

    def _read(self, message: Any, now: datetime) -> Event | EventError:
        try:
            event = self.reader.read(message, now, history=True)
            self.scorer.check(event)
        except EventError as error:
            return error
        return event

    async def _answer(
        self, request: Request, event: Event | EventError, thresholds: Any
    ) -> dict[str, Any]:
        request_id = request.scope["request_id"]
        if isinstance(event, EventError):
            return {"status": REFUSED, "error": event.as_json(), "request_id": request_id}
        known = thresholds[event.source]
        try:
            found = await self.scorer.score(event)
        except ScoringFailedError as error:
            judged = self._to_review(known, str(error))
        except OverloadedError as error:
            raise Problem(
                429, "too-many-requests", f"{error}; try again in a second", {"Retry-After": "1"}
            ) from error
        else:
            judged = self._judged(event, found, known)
        return {
            **judged,
            "source": event.source,
            "event_id": event.id,
            "threshold_from": known.origin,
            "window": {
                "length": self.scorer.window,
                "given": min(self.scorer.window, len(event.history) + 1),
            },
            "model": self.scorer.name,
            "version": self.scorer.version,
            "request_id": request_id,
        }

    def _judged(self, event: Event, found: dict[str, Any], known: InForce) -> dict[str, Any]:
        score = found["score"]
        anomalous = score > known.threshold
        fields = {
            field: {
                "value": event.fields.get(field),
                "expected": found["expected"][field],
                "contribution": contribution,
            }
            for field, contribution in found["contributions"].items()
        }
        return {
            "anomaly": anomalous,
            "score": score,
            "threshold": known.threshold,
            "severity": self.severity.of(np.array([score]))[0] if anomalous else None,
            "reasons": reasons(fields, self.max_reasons),
            "status": ANOMALY if anomalous else NORMAL,
            "missing": found["missing"],
            "ignored": found["ignored"],
        }

    @staticmethod
    def _to_review(known: InForce, why: str) -> dict[str, Any]:
        return {
            "anomaly": None,
            "score": None,
            "threshold": known.threshold,
            "severity": None,
            "reasons": [],
            "status": TO_REVIEW,
            "failure": why,
        }


def _alone(answer: dict[str, Any]) -> dict[str, Any]:
    """The only answer, or the problem that it is."""
    if answer["status"] == REFUSED:
        error = answer["error"]
        raise Problem(
            422,
            "invalid-event",
            error["detail"],
            accepted=error["accepted"],
            field=error["field"],
        )
    if answer["status"] == TO_REVIEW:
        raise _not_scored(answer["failure"], answer=answer)
    return answer


def _require_some(answers: list[dict[str, Any]]) -> None:
    statuses = {answer["status"] for answer in answers}
    if statuses == {REFUSED}:
        error = answers[0]["error"]
        text = f"none of {len(answers)} events can be taken; events[0]: {error['detail']}"
        raise Problem(422, "invalid-event", text, accepted=error["accepted"], answers=answers)
    if statuses <= {REFUSED, TO_REVIEW}:
        raise _not_scored("no event could be scored", answers=answers)


def _not_scored(why: str, **answers: Any) -> Problem:
    text = f"{why}: to review, not normal"
    return Problem(503, "not-scored", text, {"Retry-After": "1"}, **answers)
