"""What happens to every request: an id, a size limit, an in-flight limit, metrics.

Plain ASGI: Starlette's BaseHTTPMiddleware costs as much as a whole cached answer.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.metrics import GatewayMetrics
from serving.gateway.problems import Problem

_SAFE_ID = re.compile(rb"^[\x21-\x7e]{1,128}$")
# Probes and scrapes must get through when everything else is full.
_ALWAYS = ("/health/", "/metrics")


class RequestFrame:
    """Wrap the application.

    Args:
        max_body: bytes; a longer body gets 413 as soon as it is seen to be longer.
        max_in_flight: requests answered at once; one more gets 429 with Retry-After.
    """

    def __init__(
        self, app: ASGIApp, metrics: GatewayMetrics, max_body: int, max_in_flight: int
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _SAFE_ID.match(given) else uuid.uuid4().hex.encode()
        scope["request_id"] = request_id.decode()
        scope["traceparent"] = headers.get(b"traceparent", b"").decode("latin-1") or None
        started = time.perf_counter()
        status = 500

        async def framed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id))
            await send(message)

        self.in_flight += 1
        try:
            problem = self._refusal(scope, headers)
            if problem is not None:
                await problem.response(scope["path"])(scope, receive, framed_send)
            else:
                await self.app(scope, self._limited(receive), framed_send)
        finally:
            self.in_flight -= 1
            route = _route(scope)
            self.metrics.requests.labels(route, status).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - started)
            self.metrics.in_flight.set(self.in_flight)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
        if scope["path"].startswith(_ALWAYS):
            return None
        if self.in_flight > self.max_in_flight:
            return Problem(
                429,
                "too-many-requests",
                f"{self.max_in_flight} requests are being answered; try again in a second",
                {"Retry-After": "1"},
            )
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.max_body:
            return self._too_large()
        return None

    def _limited(self, receive: Receive) -> Receive:
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "body-too-large",
            f"the body has more than {self.max_body} bytes",
            {"Connection": "close"},
            accepted=f"at most {self.max_body} bytes",
        )


def _route(scope: Scope) -> str:
    """The route's pattern: label values must stay few, whatever paths are asked for."""
    endpoint: Any = scope.get("endpoint")
    if endpoint is None:
        return "unmatched"
    return str(getattr(endpoint, "pattern", scope["path"]))
