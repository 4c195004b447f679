"""Errors as RFC 9457 problem details: what was wrong, where, and what would be accepted."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


class Problem(Exception):
    """An error that the caller can mend.

    Args:
        kind: a stable name, part of the problem's `type`.
        extensions: further members of the document, such as `accepted`.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers
        self.extensions = extensions

    def response(self, instance: str) -> Response:
        document = {
            "type": f"urn:millrace:problem:{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.extensions,
        }
        return Response(
            orjson.dumps(document),
            self.status,
            self.headers,
            media_type="application/problem+json",
        )


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request.url.path)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in the same form."""
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed"}
    headers = dict(error.headers) if error.headers else None
    kind = kinds.get(error.status_code, "http-error")
    detail = {
        404: f"there is nothing at {request.url.path}; see /docs",
        405: f"{request.method} is not allowed at {request.url.path}; see /docs",
    }.get(error.status_code, str(error.detail))
    return Problem(error.status_code, kind, detail, headers).response(request.url.path)


async def on_defect(request: Request, error: Exception) -> Response:
    """Anything unforeseen: the log has the trace, the caller the request id."""
    problem = Problem(500, "internal-error", "a defect of ours; the log has the request id")
    return problem.response(request.url.path)
