"""What changed between two definitions, and whether that breaks what reads them.

Breaking: another key or entity, another type, a feature gone, a value that callers must newly send,
a view gone from a service. Everything else may change within a version.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from feature_repo.registry.definition import (
    ON_DEMAND,
    SERVICE,
    VIEW,
    Definition,
    feature_types,
)
from feature_repo.registry.versions import Revision
from feature_repo.store import StoreError


class IncompatibleError(StoreError):
    """A definition that would break its readers; the message says why and what to do."""

    exit_code = 65  # EX_DATAERR


class Change(NamedTuple):
    """One difference, in words."""

    text: str
    breaking: bool


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every difference between two definitions' contents; breaking ones first."""
    found = [
        *_entity(old.get("entity"), new.get("entity")),
        *_features(old, new),
        *_sent(old.get("sent", {}), new.get("sent", {})),
        *_views(old.get("views", ()), new.get("views", ())),
    ]
    looked_at = {"entity", "features", "sent", "views"}
    for key in sorted((old.keys() | new.keys()) - looked_at):
        if old.get(key) != new.get(key):
            found.append(Change(f"{key}: {old.get(key)} → {new.get(key)}", False))
    return sorted(found, key=lambda change: not change.breaking)


def refusal(kind: str, name: str, full_name: str, version: int, changes: Sequence[Change]) -> str:
    """Why a definition is refused, and what to do instead."""
    broken = "".join(f"\n  - {c.text}" for c in changes if c.breaking)
    return (
        f"{full_name}: this change would break what reads it, so nothing was applied:{broken}\n"
        f"{_advice(kind, name, full_name, version, changes)}"
    )


def entity_conflict(definitions: Sequence[Definition], now: Mapping[str, Revision]) -> list[str]:
    """Entities that new views and kept ones have under one name, but with different keys.

    Feast knows an entity by its name only: the newer key would be used for the older views too.
    """
    replaced = {d.full_name for d in definitions}
    kept = {
        r.definition["entity"]["name"]: r
        for n, r in now.items()
        if r.kind == VIEW and n not in replaced
    }
    found = []
    for new in definitions:
        entity = new.content.get("entity", {})
        other = kept.get(entity.get("name"))
        if other is None:
            continue
        was = other.definition["entity"]
        found += [
            f"{new.full_name}: entity {entity['name']} has {part} {entity[part]} here and "
            f"{was[part]} in {other.full_name}, which is still registered. Give the new entity a "
            "name of its own in feature_repo/entities.py"
            for part in ("join_key", "value_type")
            if entity[part] != was[part]
        ]
    return found


def _advice(kind: str, name: str, full_name: str, version: int, changes: Sequence[Change]) -> str:
    if kind == SERVICE:
        return (
            f"Models ask for {full_name} by name: leave it, and add a service under a new name in "
            "feature_repo/services.py"
        )
    if kind == ON_DEMAND:
        return (
            f"Leave {full_name}, and put the new function beside it under a new name in "
            "feature_repo/requests.py"
        )
    entity = any(c.text.startswith("entity's") for c in changes if c.breaking)
    first = (
        "Give the new entity a name of its own in feature_repo/entities.py (older versions keep "
        "the old one). "
        if entity
        else ""
    )
    return (
        f"{first}Set version={version + 1} on view {name} in feature_repo/views.py: that makes "
        f"{name}_v{version + 1} beside {full_name}, which stays as it is"
    )


def _entity(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[Change]:
    old, new = old or {}, new or {}
    return [
        Change(f"entity's {part}: {old.get(part)} → {new.get(part)}", part != "description")
        for part in ("name", "join_key", "value_type", "description")
        if old.get(part) != new.get(part)
    ]


def _features(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    before = {f["name"]: f for f in old.get("features", ())}
    after = {f["name"]: f for f in new.get("features", ())}
    types, new_types = feature_types(old), feature_types(new)
    added = [n for n in after if n not in before]
    found = []
    for name in (n for n in before if n not in after):
        near = [
            n
            for n in difflib.get_close_matches(name, added, n=3, cutoff=0.6)
            if new_types[n] == types[name]
        ]
        renamed = f" (renamed to {near[0]}?)" if near else ""
        found.append(Change(f"feature {name} removed{renamed}", True))
    found += [Change(f"feature {n} added ({new_types[n]})", False) for n in added]
    if not added and list(before) != list(after) and before.keys() == after.keys():
        found.append(Change("features are in another order", False))
    for name in (n for n in before if n in after):
        for part in sorted(before[name].keys() | after[name].keys()):
            one, two = before[name].get(part), after[name].get(part)
            if one != two:
                label = "type" if part == "dtype" else part
                text = f"feature {name}: {label} {one} → {two}"
                found.append(Change(text, part == "dtype"))
    return found


def _sent(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    return [
        *(Change(f"{n} must be sent with a request", True) for n in new if n not in old),
        *(Change(f"{n} is no longer sent with a request", False) for n in old if n not in new),
        *(
            Change(f"{n}: description {old[n]} → {new[n]}", False)
            for n in new
            if n in old and old[n] != new[n]
        ),
    ]


def _views(old: Sequence[str], new: Sequence[str]) -> list[Change]:
    return [
        *(Change(f"view {v} removed", True) for v in old if v not in new),
        *(Change(f"view {v} added", False) for v in new if v not in old),
    ]
