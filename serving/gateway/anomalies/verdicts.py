"""POST /v1/anomalies/{id}/verdict: a person's word on what was found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from pipelines.anomalies.store import CONFIRMED, DISMISSED, VERDICTS, in_order
from serving.gateway.access.gate import note_of, principal_of
from serving.gateway.access.guard import ANONYMOUS
from serving.gateway.anomalies.database import AnomalyDatabase
from serving.gateway.anomalies.events import microseconds, shown
from serving.gateway.anomalies.listing import find, history
from serving.gateway.anomalies.metrics import AnomalyMetrics
from serving.gateway.bodies import json_response, read_object
from serving.gateway.problems import Problem

_WORDS = {"confirm": CONFIRMED, "dismiss": DISMISSED}
_BODY = '{"verdict": "confirm" or "dismiss", "reason": "…"}'
_LONGEST_REASON = 2000
_LONGEST_WHO = VERDICTS.c.who.type.length  # type: ignore[attr-defined]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VerdictRoutes:
    """Takes verdicts into the anomaly store, where the stream and retraining find them."""

    def __init__(self, database: AnomalyDatabase, metrics: AnomalyMetrics) -> None:
        self.database = database
        self.metrics = metrics

    async def give(self, request: Request) -> Response:
        """POST /v1/anomalies/{id}/verdict

        The newest verdict counts and none is deleted. Who has shown no credentials may say who they
        are in `who`.
        """
        name = request.path_params["id"]
        body = await read_object(request, _BODY)
        given = {
            "anomaly": name,
            "verdict": _verdict(body),
            "reason": _text(body, "reason", _LONGEST_REASON),
            "who": _who(request, body),
            "at": microseconds(datetime.now(UTC) - _EPOCH),
        }
        answer = await self.database.ask(lambda connection: keep(connection, given))
        self.metrics.verdicts.labels(given["verdict"]).inc()
        note_of(request).detail = str(given["verdict"])
        return json_response(answer, 201)


def keep(connection: sa.Connection, given: dict[str, Any]) -> dict[str, Any]:
    """Write it, unless it is what counts already.

    Raises:
        Problem: 404, 409.
    """
    in_order(connection, VERDICTS)  # who reads on from the last sequence they saw must miss none
    find(connection, given["anomaly"])
    said = history(connection, given["anomaly"])
    if said and said[-1]["verdict"] == given["verdict"]:
        raise Problem(
            409,
            "same-verdict",
            f"anomaly {given['anomaly']!r} is {given['verdict']} already, by {said[-1]['who']} at "
            f"{said[-1]['at']}",
            accepted="the other verdict, which would count from then on",
            current=said[-1],
        )
    connection.execute(VERDICTS.insert().values(given))
    said = history(connection, given["anomaly"])
    return {"id": given["anomaly"], "verdict": said[-1], "verdicts": said}


def _verdict(body: dict[str, Any]) -> str:
    unknown = sorted(set(body) - {"verdict", "reason", "who"})
    if unknown:
        raise _invalid(f"unknown field {shown(unknown[0])}", _BODY)
    word = body.get("verdict")
    if not isinstance(word, str) or word not in _WORDS:
        found = "missing" if word is None else shown(word)
        raise _invalid(f"verdict is {found}", " or ".join(_WORDS))
    return _WORDS[word]


def _who(request: Request, body: dict[str, Any]) -> str:
    name = principal_of(request).name
    told = _text(body, "who", _LONGEST_WHO)
    if name == ANONYMOUS:
        return told or name
    if told is not None and told != name:
        raise _invalid(f"who is {shown(told)}, but the credentials are {name}'s", "no `who`")
    return name


def _text(body: dict[str, Any], name: str, longest: int) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    accepted = f"a text of at most {longest} characters"
    if not isinstance(value, str):
        raise _invalid(f"{name} is {shown(value)}", accepted)
    if len(value) > longest:
        raise _invalid(f"{name} has {len(value)} characters", accepted)
    if "\0" in value:
        raise _invalid(f"{name} has a zero byte", accepted)
    return value


def _invalid(text: str, accepted: str) -> Problem:
    return Problem(422, "invalid-verdict", text, accepted=accepted)
