"""Names of views, features and services, as callers write them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from serving.features.catalog import ViewInfo
from serving.gateway.problems import Problem

_VERSIONED = re.compile(r"(?P<name>.+?)(?:@v|_v)(?P<version>[1-9]\d*)$")


def view_named(views: Mapping[str, ViewInfo], text: str) -> ViewInfo:
    """The view that a caller calls `name`, `name@v2` or `name_v2`; version 1 is `name` itself.

    Raises:
        Problem: 404 with near matches, or with the versions that there are.
    """
    match = _VERSIONED.match(text)
    version = int(match["version"]) if match else 1
    name = match["name"] if match else text
    full = name if version == 1 else f"{name}_v{version}"
    if text in views or full in views:
        return views[text] if text in views else views[full]
    versions = [split_version(v)[1] for v in views if split_version(v)[0] == name]
    if match and versions:
        there = ", ".join(f"{name}@v{v}" for v in sorted(versions))
        raise Problem(
            404,
            "unknown-version",
            f"view {name!r} has no version {version}; there are {there}",
            accepted=there,
        )
    raise unknown("view", text, views)


def split_version(full_name: str) -> tuple[str, int]:
    """`user_history_v2` → `user_history`, 2."""
    match = _VERSIONED.match(full_name)
    return (match["name"], int(match["version"])) if match else (full_name, 1)


def features_named(views: Mapping[str, ViewInfo], texts: Iterable[str]) -> list[str]:
    """`view:feature` names in the registry's words; `view` alone stands for all its features.

    Raises:
        Problem: 404 for an unknown view, version or feature.
    """
    found: dict[str, None] = {}
    for text in texts:
        view_text, colon, feature = text.partition(":")
        view = view_named(views, view_text)
        if colon:
            require_feature(view, feature)
        for name in [feature] if colon else view.features:
            found[f"{view.name}:{name}"] = None
    return list(found)


def require_feature(view: ViewInfo, feature: str) -> None:
    """Raises: Problem: 404 with near matches."""
    if feature not in view.features:
        raise unknown(f"feature of {view.name}", feature, view.features)


def unknown(kind: str, name: str, known: Iterable[str]) -> Problem:
    """404 that names the nearest, or all where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    if not names:
        hint = "; the registry has none yet: run scripts/materialize.py, then start again"
    kinds = "feature" if kind.startswith("feature of") else kind.replace(" ", "-")
    return Problem(
        404,
        f"unknown-{kinds}",
        f"no {kind} {name[:80]!r}{hint}",
        near=near,
        accepted=", ".join(near or names[:20]),
    )
