"""What models and servers agree on: which versions of views a feature service is made of.

Training writes it into the artifact's signature; the gateway compares it with the store's registry.
A small module without Feast and without code of views, so that servers may import it.

For each view: {"version": 1, "revision": 3, "schema": "<hash>", "code": "<hash>", "key": "user_id",
"features": {"item_ids": "Array(String)", …}}. `revision` and `code` say where a model comes from;
`version`, `schema`, `key` and `features` are what must match.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.store import StoreError


class FeatureVersionError(StoreError):
    """A model that was trained on other versions of its features than the store has."""

    exit_code = 65  # EX_DATAERR


def view_versions(folder: Path, service: str) -> dict[str, dict[str, Any]]:
    """The registered versions of the views of a service; empty where none is registered.

    Raises:
        StoreError: no store in the folder, or its database cannot be reached.
    """
    with connect(folder).connect() as connection:
        now = versions.current(connection)
    found = now.get(service)
    views = found.definition["views"] if found is not None else []
    return {
        name: entry(
            now[name].version, now[name].revision, now[name].schema_hash, now[name].definition
        )
        for name in views
        if name in now
    }


def entry(
    version: int, revision: int | None, schema: str, content: Mapping[str, Any]
) -> dict[str, Any]:
    """What an artifact's signature keeps of one view."""
    return {
        "version": version,
        "revision": revision,
        "schema": schema,
        "code": content.get("code_hash"),
        "key": content.get("entity", {}).get("join_key"),
        "features": {f["name"]: f["dtype"] for f in content.get("features", ())},
    }


def require_same(
    model: str, wanted: Mapping[str, Mapping[str, Any]], folder: Path, service: str
) -> list[str]:
    """Check a model's views against a store's registry.

    A view may have gained features since; everything that the model knows must be there unchanged.

    Args:
        model: as error messages call it.
        wanted: `features` of the model's signature.

    Returns:
        What differs without being an obstacle: other code, other revisions.

    Raises:
        FeatureVersionError: a view is not there, or in another version or schema.
    """
    found = view_versions(folder, service)
    if wanted and not found:
        raise FeatureVersionError(
            f"model {model} was trained on the feature service {service}, which {folder} does not "
            f"have; it is made of {', '.join(wanted)}. Register it with `python scripts/"
            "materialize.py` or `python scripts/features.py apply`, where the code still has it, "
            "or serve an artifact that was trained on a service of this store"
        )
    complaints = [
        f"  - view {view}: {text}"
        for view, asked in wanted.items()
        if (text := _difference(asked, found.get(view)))
    ]
    if complaints:
        raise FeatureVersionError(
            f"model {model} was trained on other versions of {service} than {folder} has:\n"
            + "\n".join(complaints)
            + "\nTrain the model again on these features, serve an artifact that was, or bring the "
            "views back (`python scripts/features.py history view=…`, `restore view=… revision=…`)"
        )
    return [
        f"view {view}: trained with code {asked['code']}, the store's is {found[view]['code']}"
        for view, asked in wanted.items()
        if asked.get("code") and asked["code"] != found[view]["code"]
    ]


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return (
            f"wanted version {wanted['version']}, found none; register it with "
            "`python scripts/materialize.py` or `python scripts/features.py apply`"
        )
    if wanted["version"] != found["version"]:
        return f"wanted version {wanted['version']}, found version {found['version']}"
    if wanted["schema"] == found["schema"]:
        return None
    here = f"wanted version {wanted['version']} with schema {wanted['schema']}, found schema "
    here += str(found["schema"])
    if "features" not in wanted:
        return here
    if wanted.get("key") != found["key"]:
        return f"{here}: its key is {found['key']}, the model's is {wanted.get('key')}"
    wrong = [
        f"{name} is {found['features'].get(name, 'not there')}, the model's is {dtype}"
        for name, dtype in wanted["features"].items()
        if found["features"].get(name) != dtype
    ]
    return f"{here}: {', '.join(wrong)}" if wrong else None
