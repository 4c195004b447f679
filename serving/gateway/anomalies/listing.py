"""What was found, over HTTP."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from pipelines.anomalies.store import ANOMALIES, VERDICTS
from serving.gateway.anomalies import precision
from serving.gateway.anomalies.database import AnomalyDatabase
from serving.gateway.anomalies.query import AnomalyQuery, known, period
from serving.gateway.anomalies.rows import anomaly, verdict
from serving.gateway.bodies import json_response
from serving.gateway.problems import Problem


class ListingRoutes:
    """Handlers that read the anomaly store.

    Args:
        default_limit, max_limit: anomalies in one answer.
    """

    def __init__(self, database: AnomalyDatabase, default_limit: int, max_limit: int) -> None:
        self.database = database
        self.default_limit = default_limit
        self.max_limit = max_limit

    async def list(self, request: Request) -> Response:
        """GET /v1/anomalies?since&until&source&severity&verdict&status&limit&cursor"""
        query = AnomalyQuery.parse(request.query_params, self.default_limit, self.max_limit)
        page = await self.database.ask(query.run)
        return json_response(page._asdict())

    async def one(self, request: Request) -> Response:
        """GET /v1/anomalies/{id}"""
        name = request.path_params["id"]
        return json_response(await self.database.ask(lambda c: _one(c, name)))

    async def precision(self, request: Request) -> Response:
        """GET /v1/anomalies/precision?since&until"""
        known(request.query_params)
        since, until = period(request.query_params)
        found = await self.database.ask(lambda c: precision.answer(c, since, until))
        return json_response(found)


def find(connection: sa.Connection, name: str) -> sa.RowMapping:
    """The anomaly of this id.

    Raises:
        Problem: 404.
    """
    query = ANOMALIES.select().where(ANOMALIES.c.id == name)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise Problem(404, "unknown-anomaly", f"there is no anomaly {name[:80]!r}")
    return row


def history(connection: sa.Connection, name: str) -> list[dict[str, Any]]:
    """All that people said of an anomaly, oldest first: the last counts."""
    query = VERDICTS.select().where(VERDICTS.c.anomaly == name).order_by(VERDICTS.c.sequence)
    return [verdict(row) for row in connection.execute(query).mappings()]


def _one(connection: sa.Connection, name: str) -> dict[str, Any]:
    found, said = anomaly(find(connection, name)), history(connection, name)
    return {**found, "verdict": said[-1] if said else None, "verdicts": said}
