"""The registry's definitions as the feature client needs them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from feature_repo.store import StoreError, open_store
from serving.features.errors import UnknownNameError


class ViewInfo(NamedTuple):
    """One feature view, stored or computed at request time."""

    name: str
    key: str  # the join key: the column of keys that a read needs; "" for an on-demand view
    features: dict[str, str]  # name → Feast type name, such as "Array(String)"
    ttl: timedelta  # zero: values do not age
    entity: str
    key_type: str = "STRING"  # Feast's value type of the key
    sent: tuple[str, ...] = ()  # columns that the caller of an on-demand view sends
    code: str | None = None  # source of an on-demand view's function; None: a stored view


class Catalog(NamedTuple):
    """What a registry holds."""

    views: Mapping[str, ViewInfo]
    services: Mapping[str, list[str]]  # "view:feature"
    composite: Mapping[str, list[str]]  # views that several keys name together, which we don't read

    def view(self, name: str) -> ViewInfo:
        """One view.

        Raises:
            UnknownNameError: not in the registry.
            StoreError: a view that has not exactly one key.
        """
        if name in self.composite:
            raise StoreError(
                f"view {name!r} has the keys {self.composite[name]}; the feature client reads "
                "views of one key"
            )
        if name not in self.views:
            raise UnknownNameError("view", name, self.views)
        return self.views[name]

    def service(self, name: str) -> list[str]:
        """Names of a service's features.

        Raises:
            UnknownNameError: not in the registry.
        """
        if name not in self.services:
            raise UnknownNameError("feature service", name, self.services)
        return list(self.services[name])


def read_catalog(store: Any) -> Catalog:
    """The definitions in a Feast store's registry."""
    entities = {e.name: e for e in store.list_entities()}
    views: dict[str, ViewInfo] = {}
    composite: dict[str, list[str]] = {}
    for view in store.list_feature_views():
        if len(view.join_keys) != 1:
            composite[view.name] = list(view.join_keys)
            continue
        entity = entities[view.entities[0]]
        views[view.name] = ViewInfo(
            name=view.name,
            key=view.join_keys[0],
            features={f.name: str(f.dtype) for f in view.features},
            ttl=view.ttl or timedelta(0),
            entity=entity.name,
            key_type=entity.value_type.name,
        )
    for view in store.list_on_demand_feature_views():
        views[view.name] = ViewInfo(
            name=view.name,
            key="",
            features={f.name: str(f.dtype) for f in view.features},
            ttl=timedelta(0),
            entity="",
            sent=tuple(f.name for s in view.source_request_sources.values() for f in s.schema),
            code=view.feature_transformation.udf_string,
        )
    services = {
        service.name: [
            f"{projection.name_to_use()}:{feature.name}"
            for projection in service.feature_view_projections
            for feature in projection.features
        ]
        for service in store.list_feature_services()
    }
    return Catalog(views, services, composite)


def open_catalog(folder: Path) -> tuple[Any, Catalog]:
    """The store of a folder and what is in its registry.

    Raises:
        StoreError: no store in the folder, or a registry that cannot be read.
    """
    store = open_store(folder)
    try:
        return store, read_catalog(store)
    except Exception as error:
        raise StoreError(
            f"{folder}: the registry cannot be read ({error}); run `python scripts/materialize.py`"
        ) from error
