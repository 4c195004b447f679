"""Whether the gateway lives, and how it does."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.bodies import json_response
from serving.gateway.state import GatewayState


class Routes:
    """Handlers over one gateway's state."""

    def __init__(self, state: GatewayState) -> None:
        self.state = state

    async def live(self, request: Request) -> Response:
        """GET /health/live: the process answers."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready: 200 while answers can be given, if only fallbacks; 503 in a drain.

        `model` is the worst of `models`: a fallback, or "to review", is what callers get of it.
        """
        models = {
            name: {
                "state": "ok" if part.breaker.state == "closed" else "unavailable",
                "version": part.version,
            }
            for name, part in self.state.models.items()
        }
        states = {told["state"] for told in models.values()}
        model = "none" if not models else "unavailable" if "unavailable" in states else "ok"
        if self.state.draining:
            return json_response({"status": "draining", "model": model}, 503)
        answer: dict[str, Any] = {
            "status": "degraded" if model == "unavailable" else "ready",
            "model": model,
        }
        if models:
            answer |= {"version": self.state.version, "models": models}
        return json_response(answer)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics in Prometheus' text format."""
        self.state.measure()
        text = generate_latest(self.state.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
