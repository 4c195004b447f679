"""What there is: every registered view and feature, found by words, described whole."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.apply import find, unknown
from feature_repo.registry.compatibility import compare
from feature_repo.registry.definition import VIEW, Definition
from feature_repo.registry.versions import Revision
from feature_repo.store import StoreError
from feature_repo.view import TIME


def entries(folder: Path, code: Sequence[Definition]) -> list[dict[str, Any]]:
    """One entry a registered view or service, and one for what the code has beyond that.

    Args:
        code: what the working tree declares; `state` says how it compares: "current", "changed in
            the code", "not in the code", "not applied".
    """
    with connect(folder).connect() as connection:
        now = versions.current(connection)
    declared = {d.full_name: d for d in code}
    found = [_entry(r, _state(r, declared.get(r.full_name))) for r in now.values()]
    found += [
        {
            "name": d.full_name,
            "kind": d.kind,
            "version": d.version,
            "revision": None,
            "state": "not applied",
            **_summary(d.content),
        }
        for d in code
        if d.full_name not in now
    ]
    return found


def search(folder: Path, code: Sequence[Definition], text: str) -> list[dict[str, Any]]:
    """Entries and features whose name, description, owner, key or source has all of the words.

    A feature's match is listed as `view:feature`.
    """
    words = text.lower().split()
    found = []
    for entry in entries(folder, code):
        about = [entry["name"], entry["description"], entry["owner"], entry["key"]]
        about += entry["sources"]
        if _has(words, about):
            found.append({k: entry[k] for k in ("name", "kind", "description", "owner", "state")})
        found += [
            {
                "name": f"{entry['name']}:{feature['name']}",
                "kind": "feature",
                "description": feature["description"],
                "owner": entry["owner"],
                "state": entry["state"],
            }
            for feature in entry["features"]
            if _has(words, [feature["name"], feature["description"]])
        ]
    return found


def describe(
    folder: Path, code: Sequence[Definition], name: str, feature: str | None = None
) -> dict[str, Any]:
    """Everything about a view or service, and about each of its features.

    Args:
        name: a full name, or `view:feature`.
        feature: only this one; the rest of the view stands beside it.

    Raises:
        StoreError: no such view, service or feature, with the nearest there are.
    """
    name, _, asked = name.partition(":")
    feature = feature or asked or None
    with connect(folder).connect() as connection:
        now = versions.current(connection)
        if name not in now:
            raise StoreError(unknown("view or service", name, now))
        kept = [r for r in versions.revisions(connection, name) if r.state == versions.APPLIED]
    revision = now[name]
    state = _state(revision, {d.full_name: d for d in code}.get(name))
    found = _entry(revision, state) | {
        "definition": revision.definition,
        "schema_hash": revision.schema_hash,
        "changed": _change(revision),
        "created": _change(kept[0]),
        "used_by": sorted(r.full_name for r in now.values() if name in _inputs(r)),
    }
    if revision.kind == VIEW:
        found["offline"] = offline(folder, name)
    found["features"] = _features(found, kept, revision)
    if feature is not None:
        there = [f["name"] for f in found["features"]]
        if feature not in there:
            near = difflib.get_close_matches(feature, there, n=3, cutoff=0.5) or there
            raise StoreError(f"view {name} has no feature {feature!r}; nearest: {', '.join(near)}")
        found["features"] = [f for f in found["features"] if f["name"] == feature]
    return found


def history(folder: Path, name: str | None) -> list[Revision]:
    """Revisions of one name or of all, oldest first, with those that never took effect.

    Raises:
        StoreError: no such name, with the nearest there are.
    """
    with connect(folder).connect() as connection:
        found = versions.revisions(connection, name)
        if name is not None and not found:
            every = {r.full_name for r in versions.revisions(connection)}
            raise StoreError(unknown("view or service", name, every))
    return found


def diff(folder: Path, name: str, first: int, last: int) -> dict[str, Any]:
    """What differs between two revisions of a name: changes in words, and lines of code.

    Raises:
        StoreError: no such name or revision.
    """
    with connect(folder).connect() as connection:
        old, new = find(connection, name, first), find(connection, name, last)
    lines = difflib.unified_diff(
        old.code.splitlines(),
        new.code.splitlines(),
        f"{name} revision {first}",
        f"{name} revision {last}",
        lineterm="",
    )
    return {
        "name": name,
        "from": _change(old),
        "to": _change(new),
        "changes": [
            {"text": c.text, "breaking": c.breaking}
            for c in compare(old.definition, new.definition)
        ],
        "code": list(lines),
    }


def offline(folder: Path, name: str) -> dict[str, Any]:
    """Rows of a view's offline table, its newest moment, and files that cannot be read."""
    rows, newest, broken = 0, None, []
    for file in sorted((folder / "offline" / name).rglob("*.parquet")):
        try:
            scanned = pl.scan_parquet(file, hive_partitioning=False)
            count, moment = scanned.select(pl.len(), pl.col(TIME).max()).collect().row(0)
        except (pl.exceptions.PolarsError, OSError) as error:
            broken.append(f"{file}: {str(error).splitlines()[0]}")
            continue
        rows += count
        if moment is not None:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            newest = max(newest or moment, moment)
    return {"rows": rows, "newest": newest, "broken_files": broken}


def _entry(revision: Revision, state: str) -> dict[str, Any]:
    return {
        "name": revision.full_name,
        "kind": revision.kind,
        "version": revision.version,
        "revision": revision.revision,
        "state": state,
        "changed_at": revision.created_at,
        "changed_by": revision.changed_by,
        **_summary(revision.definition),
    }


def _summary(content: dict[str, Any] | Any) -> dict[str, Any]:
    views = content.get("views")
    return {
        "description": content.get("description") or (f"of {', '.join(views)}" if views else ""),
        "owner": content.get("owner", ""),
        "key": content.get("entity", {}).get("join_key", ""),
        "sources": [*content.get("sources", ()), *content.get("inputs", ()), *(views or ())],
        "features": list(content.get("features", ())),
        "frequency_s": content.get("frequency_s"),
        "freshness_s": content.get("freshness_s"),
        "transformation": content.get("code_path"),
        "code_hash": content.get("code_hash"),
    }


def _features(
    view: dict[str, Any], kept: Sequence[Revision], now: Revision
) -> list[dict[str, Any]]:
    """Each feature whole: what the view says of it, and when it came and last changed."""
    shared = {
        "owner": view["owner"],
        "source": view["sources"],
        "transformation": view["transformation"],
        "code_hash": view["code_hash"],
        "frequency_s": view["frequency_s"],
        "freshness_s": view["freshness_s"],
        "version": now.version,
        "revision": now.revision,
    }
    shared |= {k: view["offline"][k] for k in ("rows", "newest") if "offline" in view}
    found = []
    for feature in now.definition.get("features", ()):
        created, changed, last = None, kept[-1], None
        for revision in kept:
            there = {f["name"]: f for f in revision.definition.get("features", ())}
            mine = there.get(feature["name"])
            if mine is None:
                created, last = None, None  # gone in between: it came anew later
                continue
            created = created or revision
            if mine != last:
                changed, last = revision, mine
        found.append(
            {**feature, **shared, "created": _change(created or now), "changed": _change(changed)}
        )
    return found


def _change(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.revision,
        "action": revision.action,
        "at": revision.created_at,
        "by": revision.changed_by,
        "why": revision.why,
    }


def _state(revision: Revision, declared: Definition | None) -> str:
    if declared is None:
        return "not in the code"
    return "current" if declared.digest() == revision.digest else "changed in the code"


def _inputs(revision: Revision) -> Iterable[str]:
    return (*revision.definition.get("views", ()), *revision.definition.get("inputs", ()))


def _has(words: Sequence[str], texts: Iterable[str]) -> bool:
    about = " ".join(t for t in texts if t).lower()
    return all(w in about for w in words)


def age(moment: datetime | None) -> float | None:
    """Seconds since a moment."""
    return None if moment is None else (datetime.now(UTC) - moment).total_seconds()
