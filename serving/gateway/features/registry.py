"""What the registry knows, over HTTP."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from feature_repo.descriptions import describe
from serving.features.catalog import ViewInfo
from serving.features.client import FeatureClient
from serving.gateway.features.names import split_version, unknown, view_named
from serving.gateway.features.pushes import Pushes
from serving.gateway.features.reading import as_json


class RegistryRoutes:
    """Handlers over the definitions.

    Args:
        max_age_s: for so long a view's freshness is told without looking again.
    """

    def __init__(self, client: FeatureClient, pushes: Pushes, max_age_s: float) -> None:
        self.client = client
        self.pushes = pushes
        self.max_age_s = max_age_s
        self._described: dict[str, dict[str, Any]] = {}
        self._looked = -float("inf")

    async def views(self, request: Request) -> Response:
        """GET /v1/registry/views"""
        described = await self._all()
        return as_json({"views": [described[name] for name in sorted(described)]})

    async def view(self, request: Request) -> Response:
        """GET /v1/registry/views/{view}"""
        view = view_named(self.client.views, request.path_params["view"])
        return as_json((await self._all())[view.name])

    async def services(self, request: Request) -> Response:
        """GET /v1/registry/services"""
        services = self.client.catalog.services
        listed = [_service(name, features) for name, features in sorted(services.items())]
        return as_json({"services": listed})

    async def service(self, request: Request) -> Response:
        """GET /v1/registry/services/{service}"""
        name, services = request.path_params["service"], self.client.catalog.services
        if name not in services:
            raise unknown("feature service", name, services)
        return as_json(_service(name, services[name]))

    async def _all(self) -> dict[str, dict[str, Any]]:
        """Every view in the registry, with what its definition adds."""
        if time.monotonic() - self._looked > self.max_age_s:
            names = list(self.client.views)
            found = await self.pushes.run(describe, self.pushes.folder, names)
            defined = {d["view"]: d for d in found}
            self._described = {
                name: defined.get(name) or _registered(view)
                for name, view in self.client.views.items()
            }
            self._looked = time.monotonic()
        return self._described


def _registered(view: ViewInfo) -> dict[str, Any]:
    """A view that only the registry knows: an on-demand one, or somebody else's."""
    name, version = split_version(view.name)
    return {
        "view": view.name,
        "name": name,
        "version": version,
        "entity": view.entity or None,
        "key": view.key or None,
        "features": [{"name": n, "type": t} for n, t in view.features.items()],
        "ttl_s": view.ttl.total_seconds() or None,
        "on_demand": view.code is not None,
        "sent": list(view.sent),
    }


def _service(name: str, features: Any) -> dict[str, Any]:
    views = sorted({f.partition(":")[0] for f in features})
    versions = {view: split_version(view)[1] for view in views}
    return {"service": name, "features": list(features), "versions": versions}
