"""JSON bodies of events."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from serving.gateway.anomalies.events import parse
from serving.gateway.problems import Problem

JSON, NDJSON = "application/json", "application/x-ndjson"


def content_type(request: Request, *accepted: str) -> str:
    """The body's, one of those accepted.

    Raises:
        Problem: 415.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in accepted:
        raise Problem(
            415,
            "unsupported-media-type",
            f"content type is {kind or 'missing'!r}",
            accepted=" or ".join(accepted),
        )
    return kind


async def read_any(request: Request) -> Any:
    """A JSON body, in which NaN and infinities are let through to be named by who reads on.

    Raises:
        Problem: 415 for another content type, 400 for what is not JSON.
    """
    content_type(request, JSON)
    try:
        return parse(await request.body())
    except ValueError as error:
        raise Problem(400, "invalid-json", f"the body is not JSON: {error}") from error
