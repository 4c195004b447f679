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

from serving.gateway.documentation import documented
from serving.gateway.middleware import RequestFrame
from serving.gateway.problems import Problem, on_defect, on_http_exception, on_problem
from serving.gateway.routing import routes
from serving.gateway.state import GatewayState


def create_app(config: DictConfig) -> FastAPI:
    """Build the application from the `gateway` configuration.

    The routes are plain Starlette handlers: checking two query parameters by FastAPI's general
    machinery takes longer than answering from the cache. Their documentation is in
    `documentation/`.
    """
    state = GatewayState(config)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await state.open()
        yield
        await state.close()

    app = FastAPI(
        title="Millrace gateway",
        version=state.version,
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
    paths = set()
    for route in routes(state):
        app.add_route(route.path, route.handler, methods=[route.method])
        paths.add(route.path.replace(":path}", "}"))  # as it is documented

    def openapi() -> dict[str, Any]:
        document = get_openapi(title=app.title, version=app.version, routes=[])
        return document | documented(paths)

    app.openapi = openapi  # type: ignore[method-assign]
    return app
