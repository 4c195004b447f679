"""Definitions as plain data: of views, of the request-time view and of feature services.

A definition is JSON, so that it can be kept, compared and shown without the code that it came from,
and a view can be made from it again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from feature_repo.requests import RequestView
from feature_repo.store import feast
from feature_repo.view import Feature, View

VIEW, ON_DEMAND, SERVICE = "view", "on_demand", "service"


@dataclass(frozen=True)
class Definition:
    """One definition.

    Args:
        kind: view, on_demand or service.
        name: the same for all versions.
        full_name: the name in Feast.
        content: everything but the code, as JSON types.
        code: the source that computes it; its hash is `content["code_hash"]`.
    """

    kind: str
    name: str
    full_name: str
    version: int
    content: Mapping[str, Any] = field(repr=False)
    code: str = field(default="", repr=False)

    def digest(self) -> str:
        """Another digest means that something about it has changed."""
        return _hash([self.kind, self.full_name, self.version, self.content])

    def schema_hash(self) -> str:
        """Of the key, and of the names and types of the features: what readers depend on."""
        return schema_hash(self.content)


def schema_hash(content: Mapping[str, Any]) -> str:
    """See `Definition.schema_hash`."""
    key = content.get("entity", {}).get("join_key")
    views = sorted(content.get("views", ()))
    return _hash([key, sorted(feature_types(content).items()), views])


def feature_types(content: Mapping[str, Any]) -> dict[str, str]:
    """Feature → type, as Feast writes it, such as `Array(String)`."""
    return {f["name"]: f["dtype"] for f in content.get("features", ())}


def of_view(view: View) -> Definition:
    """What feature_repo/views.py says of a view."""
    content = {
        "description": view.description,
        "owner": view.owner,
        "entity": {
            "name": view.entity.name,
            "join_key": view.key,
            "value_type": view.entity.value_type.name,
            "description": view.entity.description,
        },
        "features": [
            {
                "name": f.name,
                "dtype": str(f.dtype),
                "description": f.description,
                "lowest": f.lowest,
                "highest": f.highest,
                "nullable": f.nullable,
                "allowed": None if f.allowed is None else list(f.allowed),
            }
            for f in view.features
        ],
        "sources": list(view.sources),
        "lookback_days": view.lookback,
        "chained": view.chained,
        "partitioned": view.partitioned,
        "settings": list(view.settings),
        "frequency_s": view.frequency.total_seconds(),
        "freshness_s": view.freshness.total_seconds(),
        "ttl_s": view.ttl.total_seconds(),
        "retention_s": None if view.retention is None else view.retention.total_seconds(),
        "pushed": view.pushed,
        "tags": dict(view.tags),
        "transformation": view.transformation.__name__,
        "code_path": view.code_path,
        "code_hash": view.code_hash(),
    }
    return Definition(VIEW, view.name, view.full_name, view.version, content, view.code())


def of_on_demand(view: RequestView, owner: str) -> Definition:
    """What feature_repo/requests.py says of a request-time view."""
    code = inspect.getsource(view.function)
    content = {
        "description": view.description,
        "owner": owner,
        "inputs": {name: list(names) for name, names in view.inputs.items()},
        "sent": dict(view.sent),
        "features": [
            {"name": name, "dtype": "Float64", "description": text, "nullable": True}
            for name, text in view.outputs.items()
        ],
        "transformation": view.name,
        "code_path": "feature_repo/requests.py",
        "code_hash": hashlib.sha256(code.encode()).hexdigest()[:16],
    }
    return Definition(ON_DEMAND, view.name, view.name, 1, content, code)


def of_service(name: str, views: Sequence[str]) -> Definition:
    """What feature_repo/services.py says of a service."""
    return Definition(SERVICE, name, name, 1, {"views": list(views)})


def as_view(definition: Definition) -> View:
    """The view of a kept definition, for Feast. It cannot be computed: its code is only text."""
    content, module = definition.content, feast()
    entity = content["entity"]
    return View(
        name=definition.name,
        version=definition.version,
        entity=module.Entity(
            name=entity["name"],
            join_keys=[entity["join_key"]],
            value_type=module.ValueType[entity["value_type"]],
            description=entity["description"],
        ),
        features=tuple(
            Feature(
                f["name"],
                _feast_type(f["dtype"]),
                f["description"],
                f["lowest"],
                f["highest"],
                f["nullable"],
                None if f["allowed"] is None else tuple(f["allowed"]),
            )
            for f in content["features"]
        ),
        transformation=_not_here,
        sources=tuple(content["sources"]),
        description=content["description"],
        owner=content["owner"],
        lookback=content["lookback_days"],
        chained=content["chained"],
        partitioned=content["partitioned"],
        settings=tuple(content["settings"]),
        frequency=timedelta(seconds=content["frequency_s"]),
        freshness=timedelta(seconds=content["freshness_s"]),
        ttl=timedelta(seconds=content["ttl_s"]),
        retention=(
            None if content["retention_s"] is None else timedelta(seconds=content["retention_s"])
        ),
        pushed=content["pushed"],
        tags=dict(content["tags"]),
    )


def _not_here(**_: Any) -> Any:
    raise NotImplementedError("a kept definition has its code as text only")


def _feast_type(text: str) -> Any:
    """`Array(String)` → feast.types.Array(String)."""
    types: Any = __import__("feast.types", fromlist=["Array"])
    if text.endswith(")"):
        outer, _, inner = text[:-1].partition("(")
        return getattr(types, outer)(_feast_type(inner))
    return getattr(types, text)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
