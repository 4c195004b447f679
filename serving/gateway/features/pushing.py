"""Publishing features over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from feature_repo.gateway_pushes import Fault, Outcome, Terms
from serving.features.client import FeatureClient
from serving.gateway.access.audit import hash_keys
from serving.gateway.access.gate import note_of
from serving.gateway.bodies import json_response, read_object
from serving.gateway.features.names import split_version, view_named
from serving.gateway.features.pushes import Pushes
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.problems import Problem

_BODY = '{"rows": [{"user_id": "u1", "<feature>": …, "event_timestamp": "2026-01-31T12:00:00Z"}]}'


class PushRoutes:
    """Handlers over the push worker."""

    def __init__(self, client: FeatureClient, pushes: Pushes, metrics: GatewayMetrics) -> None:
        self.client = client
        self.pushes = pushes
        self.metrics = metrics

    async def push(self, request: Request) -> Response:
        """POST /v1/features/{view}/push"""
        view = view_named(self.client.views, request.path_params["view"])
        body = await read_object(request, _BODY)
        rows = body.get("rows")
        if not isinstance(rows, list) or set(body) != {"rows"}:
            raise Problem(
                422, "invalid-rows", f"the body has the fields {sorted(body)}", accepted=_BODY
            )
        outcome = await self.write(request, view.name, view.key, rows, Terms())
        name, version = split_version(view.name)
        answer = {
            "view": view.name,
            "name": name,
            "version": version,
            "accepted": outcome.accepted,
            "rejected": [r._asdict() for r in outcome.rejected],
        }
        return json_response(answer)

    async def write(
        self, request: Request, view: str, key: str, rows: list[Any], terms: Terms
    ) -> Outcome:
        """Push rows and note it for the audit log.

        Raises:
            Problem: 422 that names what is malformed, 429, 503.
        """
        note = note_of(request)
        note.subject, note.rows = view, len(rows)
        note.keys_hash = hash_keys(r.get(key) for r in rows if isinstance(r, dict))
        outcome = await self.pushes.push(view, rows, terms)
        if outcome.faults:
            raise _refusal(outcome.faults)
        note.detail = f"{outcome.accepted} accepted, {len(outcome.rejected)} rejected"
        self.metrics.pushed_rows.labels(view, "accepted").inc(outcome.accepted)
        self.metrics.pushed_rows.labels(view, "rejected").inc(len(outcome.rejected))
        return outcome


def _refusal(faults: list[Fault]) -> Problem:
    first = faults[0]
    if first.row is None:
        text = f"{first.field} {first.value!r} {first.reason}"
        return Problem(422, "invalid-push", text, accepted=first.accepted)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(
        422,
        "invalid-push",
        f"row {first.row}: {first.field} is {first.value}, which {first.reason}{more}",
        accepted=first.accepted,
        faults=[f._asdict() for f in faults],
    )
