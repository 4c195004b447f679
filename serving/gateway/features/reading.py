"""Feature values over HTTP."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from feature_repo.store import StoreError
from serving.features.client import FeatureClient
from serving.features.errors import FeaturesUnavailableError, KeyColumnError, UnknownNameError
from serving.features.vectors import Vectors
from serving.gateway.bodies import read_object
from serving.gateway.features.names import split_version, view_named
from serving.gateway.features.questions import FeatureQuestion, ReadLimits, parse_body, parse_query
from serving.gateway.problems import Problem

_BODY = '{"features": ["view:feature"], "entities": {"user_id": ["u1"]}}'


class ReadRoutes:
    """Handlers over the feature client."""

    def __init__(self, client: FeatureClient, limits: ReadLimits) -> None:
        self.client = client
        self.limits = limits

    async def view(self, request: Request) -> Response:
        """GET /feature/{view}?user_id=…&features=…"""
        view = view_named(self.client.views, request.path_params["view"])
        question = parse_query(view, request.query_params, self.limits)
        vectors = await self.read(question)
        names = [name.partition(":")[2] for name in vectors.names]
        rows = [
            {
                view.key: key,
                "features": dict(zip(names, (c[n] for c in vectors.values), strict=True)),
                "statuses": dict(zip(names, (c[n] for c in vectors.statuses), strict=True)),
                "event_timestamp": _zoned(vectors.newest(n)),
            }
            for n, key in enumerate(question.keys[view.key])
        ]
        version = split_version(view.name)[1]
        return as_json({"view": view.name, "version": version, "key": view.key, "rows": rows})

    async def batch(self, request: Request) -> Response:
        """POST /v1/features"""
        body = await read_object(request, _BODY)
        for name in body:
            if name not in ("features", "feature_service", "entities"):
                raise Problem(422, "invalid-request", f"unknown field {name!r}", accepted=_BODY)
        question = parse_body(body, self.client.views, self.client.catalog.services, self.limits)
        vectors = await self.read(question)
        features = [
            {
                "name": name,
                "view": name.partition(":")[0],
                "version": split_version(name.partition(":")[0])[1],
                "values": values,
                "statuses": statuses,
                "event_timestamps": [_zoned(m) for m in moments],
            }
            for name, values, statuses, moments in zip(*vectors, strict=True)
        ]
        return as_json({"rows": question.rows, "entities": question.keys, "features": features})

    async def read(self, question: FeatureQuestion) -> Vectors:
        """Ask the client.

        Raises:
            Problem: 404, 422 or 503 in the client's words.
        """
        try:
            return await self.client.read(question.names, question.keys)
        except UnknownNameError as error:
            raise Problem(404, "unknown-name", str(error), near=error.near) from error
        except KeyColumnError as error:
            raise Problem(422, "invalid-entities", str(error)) from error
        except FeaturesUnavailableError as error:
            raise Problem(
                503, "features-unavailable", f"{error}; try again in a second", {"Retry-After": "1"}
            ) from error
        except StoreError as error:
            raise Problem(422, "invalid-features", str(error)) from error


def as_json(content: Any) -> Response:
    """JSON in which bytes are Base64, as protobuf's JSON has them."""
    return Response(orjson.dumps(content, default=_encode), media_type="application/json")


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def _zoned(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
