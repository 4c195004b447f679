"""Feast's own HTTP protocol, so that its SDK works against this gateway unchanged.

`online_store: {type: remote, path: http://gateway:8000}` reads by `/get-online-features` and writes
by `/write-to-online-store`; push clients use `/push`. Times without a zone are UTC there, as Feast
defines. Searches for vectors, materialization and Feast's demo pages are not offered.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from feature_repo.gateway_pushes import TARGETS, Terms
from serving.features.client import FeatureClient
from serving.gateway.bodies import json_response, read_object
from serving.gateway.features.names import unknown, view_named
from serving.gateway.features.pushing import PushRoutes
from serving.gateway.features.questions import parse_body
from serving.gateway.features.reading import ReadRoutes, as_json
from serving.gateway.problems import Problem

_READ = '{"features": ["view:feature"], "entities": {"user_id": ["u1"]}}'
_PUSH = '{"push_source_name": "<view>_push", "df": {"<column>": […]}, "to": "online"}'
_WRITE = '{"feature_view_name": "<view>", "df": {"<column>": […]}}'
_EPOCH = "1970-01-01T00:00:00Z"  # Feast's word for a row that is not there
_SUFFIX = "_push"
_CREATED = ("created", "created_timestamp")  # Feast's clients send one; it is ours to say


class FeastRoutes:
    """Handlers in Feast's words over those in ours."""

    def __init__(self, client: FeatureClient, reads: ReadRoutes, pushes: PushRoutes) -> None:
        self.client = client
        self.reads = reads
        self.pushes = pushes

    async def read(self, request: Request) -> Response:
        """POST /get-online-features"""
        body = await read_object(request, _READ)
        question = parse_body(
            body, self.client.views, self.client.catalog.services, self.reads.limits
        )
        vectors = await self.reads.read(question)
        full = bool(body.get("full_feature_names"))
        names = [n.replace(":", "__", 1) if full else n.partition(":")[2] for n in vectors.names]
        if len(set(names)) < len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise Problem(
                422,
                "ambiguous-features",
                f"several views have {', '.join(twice)}",
                accepted='"full_feature_names": true',
            )
        results = [
            {
                "values": column,
                "statuses": ["PRESENT"] * len(column),
                "event_timestamps": [_EPOCH] * len(column),
            }
            for column in question.keys.values()
        ]
        results += [
            {
                "values": values,
                "statuses": statuses,
                "event_timestamps": [m or _EPOCH for m in moments],
            }
            for values, statuses, moments in zip(
                vectors.values, vectors.statuses, vectors.event_timestamps, strict=True
            )
        ]
        metadata = {"feature_names": [*question.keys, *names]}
        return as_json({"metadata": metadata, "results": results, "status": True})

    async def push(self, request: Request) -> Response:
        """POST /push"""
        body = await read_object(request, _PUSH)
        source, to = body.get("push_source_name"), body.get("to", "online")
        if to not in TARGETS:
            raise Problem(422, "invalid-push", f"to is {to!r:.40}", accepted=", ".join(TARGETS))
        sources = [f"{name}{_SUFFIX}" for name, v in self.client.views.items() if v.code is None]
        if source not in sources:
            raise unknown("push source", str(source), sources)
        view = self.client.views[source.removesuffix(_SUFFIX)]
        rows = _rows(body.get("df"), _PUSH)
        terms = Terms(to=to, naive_is_utc=True)
        outcome = await self.pushes.write(request, view.name, view.key, rows, terms)
        return json_response({"accepted": outcome.accepted, "rejected": _told(outcome.rejected)})

    async def write(self, request: Request) -> Response:
        """POST /write-to-online-store"""
        body = await read_object(request, _WRITE)
        view = view_named(self.client.views, str(body.get("feature_view_name")))
        rows = _rows(body.get("df"), _WRITE)
        terms = Terms(to="online", any_view=True, naive_is_utc=True)
        outcome = await self.pushes.write(request, view.name, view.key, rows, terms)
        return json_response({"accepted": outcome.accepted, "rejected": _told(outcome.rejected)})


def _rows(columns: Any, accepted: str) -> list[dict[str, Any]]:
    """Rows from a data frame's columns.

    Raises:
        Problem: 422, they are no columns of one length.
    """
    lists = isinstance(columns, dict) and all(isinstance(c, list) for c in columns.values())
    if not lists or len({len(c) for c in columns.values()}) != 1:
        raise Problem(422, "invalid-rows", f"df is {columns!r:.80}", accepted=accepted)
    kept = {name: column for name, column in columns.items() if name not in _CREATED}
    return [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]


def _told(rejected: list[Any]) -> list[dict[str, Any]]:
    return [r._asdict() for r in rejected]
