"""Every route: its path, what it needs, and its handler.

Health, metrics and the documentation are open: balancers and Prometheus show no credentials, and
what they read names nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from serving.gateway.access.gate import Handler
from serving.gateway.access.roles import Permission
from serving.gateway.access.routes import AccessRoutes
from serving.gateway.anomalies.service import Anomalies
from serving.gateway.features.feast_protocol import FeastRoutes
from serving.gateway.features.pushing import PushRoutes
from serving.gateway.features.reading import ReadRoutes
from serving.gateway.features.registry import RegistryRoutes
from serving.gateway.recommendations.routes import RecommendationRoutes
from serving.gateway.routes import Routes
from serving.gateway.sentiment.routes import SentimentRoutes
from serving.gateway.state import GatewayState

READ, WRITE, MANAGE = Permission.READ, Permission.WRITE, Permission.MANAGE


class Route(NamedTuple):
    """One path and method."""

    method: str
    path: str
    handler: Handler


class Guarded(NamedTuple):
    """One path and method for those who have a permission; `action` is its name in the log."""

    method: str
    path: str
    permission: Permission
    action: str
    handler: Handler


def routes(state: GatewayState) -> Iterator[Route]:
    """What this gateway answers."""
    general = Routes(state)
    yield Route("GET", "/health/live", general.live)
    yield Route("GET", "/health/ready", general.ready)
    yield Route("GET", "/metrics", general.metrics)
    guarded = [*_features(state), *_access(state)]
    if state.recommendations is not None:
        guarded += _recommendations(
            RecommendationRoutes(state.recommendations, state.contexts, state.log)
        )
    if state.anomalies is not None:
        guarded += _anomalies(state.anomalies)
    if state.sentiment is not None:
        own = SentimentRoutes(state.sentiment)
        guarded.append(Guarded("POST", "/v1/sentiment", READ, "sentiment", own.post))
    for route in guarded:
        handler = state.gate.guarded(route.permission, route.action, route.handler, route.path)
        yield Route(route.method, route.path, handler)


def _recommendations(own: RecommendationRoutes) -> list[Guarded]:
    action = "recommend"
    return [
        Guarded("GET", "/recommend", READ, action, own.recommend),
        Guarded("POST", "/v1/recommendations", READ, action, own.batch),
        Guarded("POST", "/v1/recommend/basket", READ, action, own.basket),
        Guarded("GET", "/v1/items/{id:path}/similar", READ, action, own.similar),
        Guarded("GET", "/v1/trending", READ, action, own.trending),
        Guarded("GET", "/v1/onboarding", READ, action, own.offer),
        Guarded("POST", "/v1/onboarding", READ, action, own.onboard),
    ]


def _anomalies(own: Anomalies) -> list[Guarded]:
    found, said = own.listing, own.verdicts
    return [
        Guarded("POST", "/predict", READ, "anomalies.predict", own.prediction.predict),
        Guarded("POST", "/v1/telemetry", WRITE, "telemetry.write", own.telemetry.post),
        Guarded("GET", "/v1/anomalies", READ, "anomalies.read", found.list),
        Guarded("GET", "/v1/anomalies/precision", READ, "anomalies.read", found.precision),
        Guarded("GET", "/v1/anomalies/{id:path}", READ, "anomalies.read", found.one),
        Guarded("POST", "/v1/anomalies/{id:path}/verdict", WRITE, "anomalies.verdict", said.give),
    ]


def _features(state: GatewayState) -> list[Guarded]:
    client, pushes = state.features, state.pushes
    reads = ReadRoutes(client, state.read_limits)
    writes = PushRoutes(client, pushes, state.metrics)
    registry = RegistryRoutes(client, pushes, state.registry_max_age_s)
    feast = FeastRoutes(client, reads, writes)
    return [
        Guarded("GET", "/feature/{view}", READ, "read", reads.view),
        Guarded("POST", "/v1/features", READ, "read", reads.batch),
        Guarded("POST", "/v1/features/{view}/push", WRITE, "push", writes.push),
        Guarded("GET", "/v1/registry/views", READ, "registry", registry.views),
        Guarded("GET", "/v1/registry/views/{view}", READ, "registry", registry.view),
        Guarded("GET", "/v1/registry/services", READ, "registry", registry.services),
        Guarded("GET", "/v1/registry/services/{service}", READ, "registry", registry.service),
        Guarded("POST", "/get-online-features", READ, "read", feast.read),
        Guarded("POST", "/push", WRITE, "push", feast.push),
        Guarded("POST", "/write-to-online-store", WRITE, "push", feast.write),
    ]


def _access(state: GatewayState) -> list[Guarded]:
    own = AccessRoutes(state.database, state.gate.project, state.audit_max_limit)
    return [
        Guarded("GET", "/v1/audit", MANAGE, "audit.read", own.audit),
        Guarded("GET", "/v1/keys", MANAGE, "keys.list", own.list_keys),
        Guarded("POST", "/v1/keys", MANAGE, "keys.create", own.create_key),
        Guarded("DELETE", "/v1/keys/{key}", MANAGE, "keys.revoke", own.revoke_key),
    ]
