"""Managing access over HTTP: API keys and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from feature_repo.store import StoreError
from serving.gateway.access.audit_query import AuditQuery, AuditQueryError
from serving.gateway.access.database import Database
from serving.gateway.access.gate import note_of, principal_of
from serving.gateway.access.keys import ApiKeyError, ApiKeys
from serving.gateway.access.refusals import not_permitted
from serving.gateway.access.roles import ANY, Permission, Principal, Role, RoleError, parse_role
from serving.gateway.bodies import json_response, read_object
from serving.gateway.problems import Problem

_KEY = '{"name": "…", "roles": {"<project>": "reader|writer|admin"}, "expires_days": 90}'


class AccessRoutes:
    """Handlers over the metadata database; all of them need the permission to manage."""

    def __init__(self, database: Database, project: str, max_events: int) -> None:
        self.database = database
        self.project = project
        self.max_events = max_events

    async def audit(self, request: Request) -> Response:
        """GET /v1/audit?who=…&action=…&from=…&to=…&limit=…"""
        given = dict(request.query_params)
        if not principal_of(request).may(Permission.MANAGE, ANY):
            given["project"] = self.project  # a project's admin sees that project
        try:
            query = AuditQuery.parse(given, self.max_events)
        except AuditQueryError as error:
            raise Problem(422, "invalid-query", str(error), accepted=error.accepted) from error
        events = await self._ask(lambda engine: query.run(engine))
        return json_response({"events": events})

    async def list_keys(self, request: Request) -> Response:
        """GET /v1/keys"""
        keys = await self._ask(lambda engine: ApiKeys(engine).all())
        now = datetime.now(UTC)
        mine = [k.as_dict(now) for k in keys if _manages(principal_of(request), k.roles)]
        return json_response({"keys": mine})

    async def create_key(self, request: Request) -> Response:
        """POST /v1/keys"""
        body = await read_object(request, _KEY)
        unknown = set(body) - {"name", "roles", "expires_days"}
        if unknown:
            text = f"unknown field {', '.join(map(repr, sorted(unknown)))}"
            raise Problem(422, "invalid-key", text, accepted=_KEY)
        by = principal_of(request)
        name = str(body.get("name") or "")
        note_of(request).subject = name
        roles, lifetime = _roles(body.get("roles")), _lifetime(body.get("expires_days"))
        _require_all(by, roles)
        try:
            key, secret = await self._ask(
                lambda engine: ApiKeys(engine).create(name, roles, by.name, lifetime)
            )
        except ApiKeyError as error:
            raise Problem(422, "invalid-key", str(error), accepted=_KEY) from error
        return json_response({"key": secret, **key.as_dict(datetime.now(UTC))}, 201)

    async def revoke_key(self, request: Request) -> Response:
        """DELETE /v1/keys/{key}: by name or id."""
        which, by = request.path_params["key"], principal_of(request)
        try:
            keys = await self._ask(lambda engine: ApiKeys(engine).all())
            for key in keys:
                if which in (key.id, key.name):
                    _require_all(by, key.roles)
            revoked = await self._ask(lambda engine: ApiKeys(engine).revoke(which, by.name))
        except ApiKeyError as error:
            raise Problem(404, "unknown-key", str(error)) from error
        return json_response(revoked.as_dict(datetime.now(UTC)))

    async def _ask(self, question: Any) -> Any:
        """Run a question in a thread.

        Raises:
            Problem: 503, the database does not answer.
        """
        try:
            return await asyncio.to_thread(lambda: question(self.database.engine()))
        except (sa.exc.OperationalError, StoreError) as error:
            raise Problem(
                503, "metadata-unavailable", "the metadata database does not answer; try again",
                {"Retry-After": "5"},
            ) from error  # fmt: skip


def _manages(principal: Principal, roles: Mapping[str, Role]) -> bool:
    return any(principal.may(Permission.MANAGE, project) for project in roles)


def _require_all(principal: Principal, roles: Mapping[str, Role]) -> None:
    """Nobody gives or takes what they could not do themselves."""
    for project in roles:
        if not principal.may(Permission.MANAGE, project):
            raise not_permitted(principal.name, Permission.MANAGE, project)


def _roles(value: Any) -> dict[str, Role]:
    if not isinstance(value, dict) or not value:
        raise Problem(422, "invalid-key", f"roles is {value!r:.80}", accepted=_KEY)
    try:
        return {project: parse_role(str(role)) for project, role in value.items()}
    except RoleError as error:
        raise Problem(422, "invalid-key", str(error), accepted=", ".join(Role)) from error


def _lifetime(value: Any) -> timedelta | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 36500:
        raise Problem(
            422, "invalid-key", f"expires_days is {value!r:.40}", accepted="days from now, or null"
        )
    return timedelta(days=value)
