"""From names to what must be read, once for every set of names that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from feature_repo.store import StoreError
from serving.features import on_demand
from serving.features.catalog import Catalog, ViewInfo
from serving.features.errors import KeyColumnError, UnknownNameError
from serving.features.vectors import Column

# Feast's value types of keys → Python types that are taken as such
KEY_TYPES: Mapping[str, type] = {
    "STRING": str, "BYTES": bytes, "INT32": int, "INT64": int, "UNIX_TIMESTAMP": int,
}  # fmt: skip


class Part(NamedTuple):
    """Features of one stored view."""

    view: ViewInfo
    features: tuple[str, ...]


@dataclass(eq=False)
class Group:
    """Views that one key column names: one row of a key-value store a key."""

    key: str
    key_type: str
    entity: str
    parts: tuple[Part, ...]
    prepared: Any = None  # what the reader made of it


class Place(NamedTuple):
    """Where a stored feature's column comes from."""

    group: int
    part: int
    feature: int


@dataclass
class Plan:
    """How one set of names is answered.

    Args:
        names: as asked for.
        groups: what is read.
        places: where each stored feature is that is asked for; where there are computed features,
            each of `stored`.
        stored: names of stored features, those that computed ones need among them.
        computed: on-demand views.
    """

    names: tuple[str, ...]
    groups: tuple[Group, ...]
    places: tuple[Place, ...]
    stored: tuple[str, ...]
    computed: tuple[on_demand.OnDemand, ...]

    def complete(
        self, columns: Sequence[Column], keys: Mapping[str, Sequence[Any]]
    ) -> list[Column]:
        """Add the computed features; columns in the order asked for."""
        found = dict(zip(self.stored, columns, strict=True))
        for made in self.computed:
            found |= made.compute(found, keys)
        return [found[name] for name in self.names]

    def rows(self, keys: Mapping[str, Sequence[Any]]) -> int:
        """How many rows the key columns have.

        Raises:
            KeyColumnError: a column is missing, has another length, or values of a wrong type.
        """
        count = -1
        for group in self.groups:
            column = keys.get(group.key)
            if column is None:
                raise KeyColumnError(
                    f"view {group.parts[0].view.name!r} needs the key column {group.key!r}; "
                    f"there are {sorted(keys)}"
                )
            _check_type(group.key, column, (KEY_TYPES.get(group.key_type, str),))
            count = len(column) if count < 0 else count
        for made in self.computed:
            for name in made.sent:
                if name not in keys:
                    raise KeyColumnError(
                        f"view {made.name!r} needs the column {name!r}, sent with the request; "
                        f"there are {sorted(keys)}"
                    )
                _check_type(name, keys[name], (float, int, type(None)))
        if any(len(column) != count for column in keys.values()):
            lengths = {name: len(column) for name, column in keys.items()}
            raise KeyColumnError(f"key columns of different lengths: {lengths}")
        return count


def make_plan(catalog: Catalog, names: Sequence[str]) -> Plan:
    """The plan for `view:feature` names.

    Raises:
        UnknownNameError: an unknown view or feature.
        StoreError: no names, or a view that cannot be read.
    """
    if not names:
        raise StoreError("no features are asked for; name some as view:feature")
    made = [_checked(catalog, name) for name in names]
    views = {view.name: view for view, _ in made if view.code is not None}
    computed = tuple(on_demand.find(view) for view in views.values())
    stored = [f"{v.name}:{f}" for v, f in made if v.code is None]
    stored += [name for c in computed for name in c.inputs]
    features: dict[str, list[str]] = {}
    for name in dict.fromkeys(stored):
        view, feature = _checked(catalog, name)
        features.setdefault(view.name, []).append(feature)
    by_key: dict[str, list[Part]] = {}
    for view_name, wanted in features.items():
        view = catalog.view(view_name)
        by_key.setdefault(view.key, []).append(Part(view, tuple(wanted)))
    groups = tuple(
        Group(key, parts[0].view.key_type, parts[0].view.entity, tuple(parts))
        for key, parts in by_key.items()
    )
    places = {
        f"{part.view.name}:{feature}": Place(g, p, f)
        for g, group in enumerate(groups)
        for p, part in enumerate(group.parts)
        for f, feature in enumerate(part.features)
    }
    order = tuple(places) if computed else tuple(names)
    return Plan(tuple(names), groups, tuple(places[n] for n in order), order, computed)


def _checked(catalog: Catalog, name: str) -> tuple[ViewInfo, str]:
    view_name, colon, feature = name.partition(":")
    if not colon:
        raise StoreError(f"feature {name!r} is not named as view:feature")
    view = catalog.view(view_name)
    if feature not in view.features:
        raise UnknownNameError(f"feature of {view_name}", feature, view.features)
    return view, feature


def _check_type(name: str, column: Sequence[Any], wanted: tuple[type, ...]) -> None:
    if set(map(type, column)) <= set(wanted):
        return
    place, wrong = next((n, v) for n, v in enumerate(column) if type(v) not in wanted)
    takes = " or ".join(t.__name__ for t in wanted)
    raise KeyColumnError(
        f"{name}[{place}] is {wrong!r}, a {type(wrong).__name__}; {name} takes {takes}"
    )
