"""Feast's objects from definitions, and which definition each of Feast's objects came from.

Every object carries its definition's digest as a tag, so that what Feast holds can be compared with
what the history says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_repo.entities import ENTITIES
from feature_repo.on_demand import on_demand_views
from feature_repo.registry.definition import ON_DEMAND, SERVICE, VIEW, Definition, as_view
from feature_repo.store import feast
from feature_repo.view import View

DIGEST = "definition"  # the tag


def build(folder: Path, definitions: Sequence[Definition]) -> list[Any]:
    """Everything for Feast's `apply`: entities, views, on-demand views, services.

    A service is left out while one of its views is missing.
    """
    views = {d.full_name: as_view(d) for d in definitions if d.kind == VIEW}
    made: dict[str, Any] = {n: v.as_feast(folder) for n, v in views.items()}
    asked = {d.full_name for d in definitions if d.kind == ON_DEMAND}
    made |= {view.name: view for view in on_demand_views(made) if view.name in asked}
    services = {
        d.full_name: feast().FeatureService(
            name=d.full_name, features=[made[v] for v in d.content["views"]]
        )
        for d in definitions
        if d.kind == SERVICE and all(v in made for v in d.content["views"])
    }
    made |= services
    for definition in definitions:
        if definition.full_name in made:
            item = made[definition.full_name]
            item.tags = {**(item.tags or {}), DIGEST: definition.digest()}
    return [*_entities(views), *made.values()]


def registered(store: Any) -> dict[str, Any]:
    """Feast's views and services as they are now, by name."""
    found = [*store.list_all_feature_views(), *store.list_feature_services()]
    return {item.name: item for item in found}


def digest_of(item: Any) -> str | None:
    """The digest of the definition that one of Feast's objects was made from."""
    digest: str | None = (item.tags or {}).get(DIGEST)
    return digest


def _entities(views: Mapping[str, View]) -> list[Any]:
    """Those of the code, and those of older versions that the code no longer has."""
    named = {v.entity.name: v.entity for v in views.values()}
    return list({**named, **{e.name: e for e in ENTITIES}}.values())
