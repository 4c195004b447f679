"""The gateway as an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from omegaconf import DictConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from serving.gateway.documentation import PATHS, SCHEMAS
from serving.gateway.middleware import RequestFrame
from serving.gateway.problems import Problem, on_defect, on_http_exception, on_problem
from serving.gateway.routes import Routes
from serving.gateway.state import GatewayState


def create_app(config: DictConfig) -> FastAPI:
    """Build the application from the `gateway` configuration.

    The routes are plain Starlette handlers: checking two query parameters by FastAPI's general
    machinery takes longer than answering from the cache. Their documentation is in
    `documentation.py`.
    """
    state = GatewayState(config)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await state.open()
        yield
        await state.close()

    app = FastAPI(
        title="Millrace gateway",
        version=state.recommender.version,
        lifespan=lifespan,
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_exception,
            Exception: on_defect,
        },
        middleware=[
            Middleware(
                RequestFrame,
                metrics=state.metrics,
                max_body=config.max_body_bytes,
                max_in_flight=config.max_in_flight,
            )
        ],
    )
    app.state.gateway = state
    routes = Routes(state)
    app.add_route("/recommend", routes.recommend, methods=["GET"])
    app.add_route("/v1/recommendations", routes.recommend_batch, methods=["POST"])
    app.add_route("/health/live", routes.live, methods=["GET"])
    app.add_route("/health/ready", routes.ready, methods=["GET"])
    app.add_route("/metrics", routes.metrics, methods=["GET"])

    def openapi() -> dict[str, Any]:
        document = get_openapi(title=app.title, version=app.version, routes=[])
        document["paths"] = PATHS
        document["components"] = {"schemas": SCHEMAS}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app
