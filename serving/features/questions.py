"""From names and key columns to look-ups: what must be read of which view, for which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.features.catalog import Catalog, ViewInfo
from serving.features.errors import KeyColumnError, UnknownNameError

# Feast's value types of keys → Python types that are taken as such
_KEY_TYPES: Mapping[str, type] = {
    "STRING": str, "BYTES": bytes, "INT32": int, "INT64": int, "UNIX_TIMESTAMP": int,
}  # fmt: skip


class Part(NamedTuple):
    """Features of one view."""

    view: ViewInfo
    features: tuple[str, ...]


class Lookup(NamedTuple):
    """Views of one key column, for distinct keys: one row of a key-value store a key."""

    key: str
    key_type: str
    values: Sequence[Any]
    parts: tuple[Part, ...]


def split_name(name: str) -> tuple[str, str]:
    """`view:feature` → its halves.

    Raises:
        UnknownNameError: no colon in it.
    """
    view, colon, feature = name.partition(":")
    if not colon or not feature:
        raise UnknownNameError("feature", name, ["<view>:<feature>"])
    return view, feature


def parts_of(catalog: Catalog, names: Sequence[str]) -> list[Part]:
    """Views in the order in which they first appear, each with the features asked of it.

    Raises:
        UnknownNameError: an unknown view or feature.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        view_name, feature = split_name(name)
        view = catalog.view(view_name)
        if feature not in view.features:
            raise UnknownNameError(f"feature of {view_name}", feature, view.features)
        features = found.setdefault(view_name, [])
        if feature not in features:
            features.append(feature)
    return [Part(catalog.view(v), tuple(f)) for v, f in found.items()]


def check_keys(parts: Sequence[Part], keys: Mapping[str, Sequence[Any]]) -> int:
    """How many rows the key columns have.

    Raises:
        KeyColumnError: a column is missing, has another length, or values of a wrong type.
    """
    for part in parts:
        if part.view.key not in keys:
            raise KeyColumnError(
                f"view {part.view.name!r} needs the key column {part.view.key!r}; "
                f"there are {sorted(keys)}"
            )
    lengths = {name: len(column) for name, column in keys.items()}
    if len(set(lengths.values())) > 1:
        raise KeyColumnError(f"key columns of different lengths: {lengths}")
    for part in parts:
        wanted = _KEY_TYPES.get(part.view.key_type, str)
        if set(map(type, keys[part.view.key])) - {wanted}:
            place, wrong = next(
                (n, v) for n, v in enumerate(keys[part.view.key]) if type(v) is not wanted
            )
            raise KeyColumnError(
                f"{part.view.key}[{place}] is {wrong!r}, a {type(wrong).__name__}; the key of "
                f"{part.view.name!r} is a {wanted.__name__}"
            )
    return next(iter(lengths.values()), 0)
