"""One POST of JSON, with nothing that follows it: a redirect is an answer like another."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from pipelines.alerts.errors import AlertConfigError, SendError

_SHOWN = 2_000  # characters of a response that are kept
_AGAIN = (408, 425, 429)  # a client's error that may pass


def endpoint(url: str) -> SplitResult:
    """Raises: AlertConfigError: no http(s) URL with a host."""
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018 - it is checked when it is looked at
    except ValueError as error:
        raise AlertConfigError(f"a URL's port is a number: {parts.hostname}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AlertConfigError(f"{parts.scheme}://{parts.hostname or ''} is no http(s) URL")
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> str:
    """Status and text of a 2xx answer.

    Raises:
        SendError: anything else; permanent if the same request would be refused again.
    """
    parts = endpoint(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read(_SHOWN).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise SendError(f"{parts.hostname}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    said = f"{answer.status} {text}".strip()
    if not 200 <= answer.status < 300:
        again = answer.status >= 500 or answer.status in _AGAIN
        raise SendError(f"{parts.hostname} answered {said}", not again, said)
    return said


def as_body(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
