"""Routes behind the door: who may ask is checked before, and what they did is logged after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.access.audit import AuditLog, Event
from serving.gateway.access.guard import Access, require
from serving.gateway.access.refusals import Refusal
from serving.gateway.access.roles import Permission, Principal
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.problems import Problem

Handler = Callable[[Request], Awaitable[Response]]

UNKNOWN = "unknown"  # somebody whose credentials were not accepted


@dataclass
class Note:
    """What a handler adds to the log about its request."""

    subject: str | None = None
    rows: int | None = None
    keys_hash: str | None = None
    detail: str | None = None


class Gate:
    """Wraps handlers.

    Args:
        project: in which callers need their roles.
    """

    def __init__(
        self, access: Access, audit: AuditLog, metrics: GatewayMetrics, project: str
    ) -> None:
        self.access = access
        self.audit = audit
        self.metrics = metrics
        self.project = project

    def guarded(
        self, permission: Permission, action: str, handler: Handler, pattern: str
    ) -> Handler:
        """The handler for those who have the permission; metrics call it by the path's pattern.

        Denials are logged and counted; so is everything that asks for more than reading.
        """

        async def enter(request: Request) -> Response:
            try:
                principal = self.access.recall(request) or await self.access.identify(request)
                require(principal, permission, self.project)
            except Refusal as refusal:
                self._deny(request, action, refusal)
                raise
            request.scope["principal"] = principal
            if permission is Permission.READ:
                return await handler(request)
            return await self._logged(request, action, handler, principal)

        enter.pattern = pattern  # type: ignore[attr-defined]
        return enter

    def _deny(self, request: Request, action: str, refusal: Refusal) -> None:
        self.metrics.auth_failures.labels(refusal.reason).inc()
        note = Note(subject=_subject(request), detail=refusal.reason)
        who = refusal.who or UNKNOWN
        self.record(request, who, action, "denied", refusal.status, note)

    async def _logged(
        self, request: Request, action: str, handler: Handler, principal: Principal
    ) -> Response:
        note = request.scope["note"] = Note(subject=_subject(request))
        outcome, status = "failed", 500
        try:
            response = await handler(request)
            outcome, status = "ok", response.status_code
            return response
        except Refusal as refusal:  # the handler found that this very thing is not theirs to do
            self.metrics.auth_failures.labels(refusal.reason).inc()
            outcome, status, note.detail = "denied", refusal.status, refusal.reason
            raise
        except Problem as problem:
            outcome = "refused" if problem.status < 500 else "failed"
            status, note.detail = problem.status, problem.kind
            raise
        finally:
            self.record(request, principal.name, action, outcome, status, note)

    def record(
        self, request: Request, who: str, action: str, outcome: str, status: int, note: Note
    ) -> None:
        """Put one line into the audit log."""
        reason = request.headers.get("x-reason")
        self.audit.append(
            Event(
                project=self.project,
                who=who,
                action=action,
                outcome=outcome,
                subject=note.subject,
                rows=note.rows,
                keys_hash=note.keys_hash,
                why=_text(reason) if reason else None,
                detail=note.detail,
                status=status,
                request_id=request.scope["request_id"],
                client=request.client.host if request.client else None,
            )
        )


def principal_of(request: Request) -> Principal:
    """Who asks, in a guarded handler."""
    principal = request.scope["principal"]
    assert isinstance(principal, Principal)
    return principal


def note_of(request: Request) -> Note:
    """What a guarded handler can add to the log; for a read it goes nowhere."""
    note = request.scope.get("note") or Note()
    assert isinstance(note, Note)
    return note


def _subject(request: Request) -> str | None:
    values = request.path_params.values()
    return str(next(iter(values))) if values else None


def _text(header: str) -> str:
    """Headers arrive as Latin-1; who writes more than ASCII writes UTF-8."""
    return header.encode("latin-1").decode("utf-8", "replace")
