"""JSON in and out."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.problems import Problem

_JSON = "application/json"


async def read_json(request: Request) -> Any:
    """The body of a request.

    Raises:
        Problem: 415 for another content type, 400 for what is not JSON.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != _JSON:
        raise Problem(
            415, "unsupported-media-type", f"content type is {kind or 'missing'!r}", accepted=_JSON
        )
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "invalid-json", f"the body is not JSON: {error}") from error


async def read_object(request: Request, accepted: str) -> dict[str, Any]:
    """The body, which must be a JSON object.

    Raises:
        Problem: as `read_json`, and 422 for another JSON value.
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        found = f"the body is a JSON {type(body).__name__}"
        raise Problem(422, "invalid-request", found, accepted=accepted)
    return body


def json_response(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=_JSON)
