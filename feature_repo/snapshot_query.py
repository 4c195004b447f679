"""The query of a snapshot: which features for which rows, and the state of what it reads."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import sqlalchemy as sa

from feature_repo.computation import computations
from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.apply import unknown
from feature_repo.registry.contract import entry
from feature_repo.registry.definition import ON_DEMAND, SERVICE, VIEW, feature_types
from feature_repo.registry.versions import Revision
from feature_repo.services import SERVICES
from feature_repo.store import StoreError
from feature_repo.view import DAY, TIME


@dataclass(frozen=True)
class Query:
    """A resolved query.

    Args:
        refs: `view:feature`, in order.
        views: the registered definition of every view that is read, also by request-time views.
        full_names: columns are called `view__feature`.
        known_only: a value counts only if it had arrived by the moment asked for.
    """

    service: str | None
    refs: tuple[str, ...]
    views: Mapping[str, Revision]
    full_names: bool
    known_only: bool

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        service: str | None,
        refs: Sequence[str] | None,
        full_names: bool,
        known_only: bool,
    ) -> Query:
        """Look the names up in the registry; with `refs`, `service` is only remembered.

        Raises:
            StoreError: an unknown service, view, version or feature, with the nearest there are.
        """
        with connect(folder).connect() as connection:
            now = versions.current(connection)
        if not refs:
            refs = _of_service(now, service)
        chosen: dict[str, Revision] = {}
        for ref in refs:
            revision = _view_of(now, ref)
            chosen[revision.full_name] = revision
            for name in revision.definition.get("inputs", ()):
                chosen.setdefault(name, now[name])
        return cls(service, tuple(refs), chosen, full_names, known_only)

    def keys(self) -> dict[str, str]:
        """Key column that the entities must have → why."""
        keys: dict[str, str] = {}
        for name, revision in self.views.items():
            if revision.kind == VIEW:
                keys.setdefault(revision.definition["entity"]["join_key"], f"the key of {name}")
        return keys

    def sent(self) -> dict[str, str]:
        """Column that stands for what a request sends → why."""
        return {
            column: f"which {name} needs with every request"
            for name, revision in self.views.items()
            for column in revision.definition.get("sent", ())
        }

    def columns(self) -> dict[str, str]:
        """Column of the result → its view."""
        named = {}
        for ref in self.refs:
            view, _, feature = ref.partition(":")
            named[f"{view}__{feature}" if self.full_names else feature] = view
        return named


def run(store: Any, query: Query, entities: pl.DataFrame) -> pl.DataFrame:
    """The entities with their features as of each row's moment, rows in order.

    Raises:
        JoinError: keys of another type, a broken file.
        StoreError: two columns of one name.
    """
    columns = list(query.columns())
    twice = [c for c in columns if c in entities.columns]
    if twice or len(columns) < len(query.refs):
        double = twice or sorted({r.split(":")[1] for r in query.refs})
        raise StoreError(
            f"several columns are called {', '.join(double)}; full_names=true tells them apart"
        )
    asked = entities.select([*query.keys(), *query.sent(), TIME])
    job = store.get_historical_features(
        asked.to_pandas(),
        list(query.refs),
        full_feature_names=query.full_names,
        filter_by_created_timestamp=query.known_only,
    )
    found = pl.DataFrame(job.to_arrow())
    types = [_polars_type(_dtype_of(query, ref)) for ref in query.refs]
    typed = (
        pl.col(c) if t is None else pl.col(c).cast(t) for c, t in zip(columns, types, strict=True)
    )
    return entities.hstack(found.select(typed))


def source_versions(
    folder: Path, query: Query, entities: pl.DataFrame
) -> dict[str, dict[str, Any]]:
    """The state of each view: definition, and content of the files that the query can reach.

    A file of a later day than the last moment asked for holds nothing that the query sees.
    """
    last: Any = entities[TIME].max()
    return {
        name: {
            "kind": revision.kind,
            **entry(revision.version, revision.revision, revision.schema_hash, revision.definition),
            "code": revision.code_hash,
            "ttl_s": revision.definition.get("ttl_s"),
            **(_data(folder, name, last.date()) if revision.kind == VIEW else {}),
        }
        for name, revision in query.views.items()
    }


def changed_sources(folder: Path, kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is not as `source_versions` found it, so that the same query may give other rows."""
    with connect(folder).connect() as connection:
        now = versions.current(connection)
    texts = []
    for name, was in kept.items():
        revision = now.get(name)
        if revision is None:
            texts.append(f"view {name} is not registered any more")
            continue
        if was["schema"] != revision.schema_hash:
            texts.append(f"view {name}: its schema changed ({was['schema']} → "
                         f"{revision.schema_hash}, revision {revision.revision})")  # fmt: skip
        if was["ttl_s"] != revision.definition.get("ttl_s"):
            texts.append(f"view {name}: ttl_s {was['ttl_s']} → {revision.definition['ttl_s']}")
        # A view's code made its files, which are compared; a request-time view's runs again.
        if was["kind"] == ON_DEMAND and was["code"] != revision.code_hash:
            texts.append(f"view {name}: its code changed ({was['code']} → {revision.code_hash})")
        if "files" in was:
            texts += _moved(name, was["files"], _files(folder, name, _day(was["until"])))
    return texts


def _of_service(now: Mapping[str, Revision], service: str | None) -> list[str]:
    services = [n for n, r in now.items() if r.kind == SERVICE]
    if service is None:
        raise StoreError(f"a service or features are needed; services: {', '.join(services)}")
    if service not in services:
        if service in SERVICES:
            lacking = [name for name in SERVICES[service] if name not in now]
            raise StoreError(
                f"this store does not have the feature service {service!r} yet; it lacks "
                f"{', '.join(lacking) or 'nothing but its registration'}. `python "
                "scripts/materialize.py` registers and computes views whose raw data are there"
            )
        raise StoreError(unknown("feature service", service, services))
    return [
        f"{view}:{feature['name']}"
        for view in now[service].definition["views"]
        for feature in now[view].definition["features"]
    ]


def _view_of(now: Mapping[str, Revision], ref: str) -> Revision:
    view, colon, feature = ref.partition(":")
    if not colon:
        raise StoreError(f"feature {ref!r} must be written view:feature")
    views = [n for n, r in now.items() if r.kind != SERVICE]
    if view not in views:
        raise StoreError(unknown("view", view, views))
    there = [f["name"] for f in now[view].definition["features"]]
    if feature not in there:
        near = difflib.get_close_matches(feature, there, n=3, cutoff=0.5) or there
        raise StoreError(f"view {view} has no feature {feature!r}; nearest: {', '.join(near)}")
    return now[view]


def _data(folder: Path, name: str, until: date) -> dict[str, Any]:
    files = _files(folder, name, until)
    query = (
        sa.select(computations.c.day, computations.c.fingerprint)
        .where(computations.c.view == name, computations.c.day <= until)
        .order_by(computations.c.day)
    )
    with connect(folder).connect() as connection:
        computed = {str(r.day): r.fingerprint for r in connection.execute(query)}
    return {
        "until": str(until),
        "files": files,
        "fingerprint": _digest(files),
        "computations": _digest(computed),
    }


def _files(folder: Path, name: str, until: date) -> dict[str, str]:
    """File below the view's folder → hash of its bytes, for days up to `until`.

    Raises:
        StoreError: a file that is not whole.
    """
    base = folder / "offline" / name
    found = {}
    for file in sorted(base.rglob("*.parquet")):
        part = file.parent.name
        if part.startswith(f"{DAY}=") and _day(part[len(DAY) + 1 :]) > until:
            continue
        try:
            pq.read_metadata(file)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"view {name}: {file} is not a whole Parquet file ({error}). Remove it, then "
                "compute its day again: `python scripts/materialize.py views=[…] first=… last=…`"
            ) from error
        with file.open("rb") as stream:
            found[str(file.relative_to(base))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _moved(name: str, was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    texts = []
    for word, files in (
        ("changed", [f for f in was if f in now and was[f] != now[f]]),
        ("gone", [f for f in was if f not in now]),
        ("new", [f for f in now if f not in was]),
    ):
        if files:
            more = ", …" if len(files) > 3 else ""
            texts.append(f"view {name}: {len(files)} offline files {word} "
                         f"({', '.join(files[:3])}{more})")  # fmt: skip
    return texts


_TYPES = {
    "String": pl.String(),
    "Int32": pl.Int32(),
    "Int64": pl.Int64(),
    "Float32": pl.Float32(),
    "Float64": pl.Float64(),
    "Bool": pl.Boolean(),
}


def _dtype_of(query: Query, ref: str) -> str:
    view, _, feature = ref.partition(":")
    return feature_types(query.views[view].definition)[feature]


def _polars_type(dtype: str) -> pl.DataType | None:
    """Of a registered type; a column without any value has no type of its own. None: as it is."""
    if dtype.startswith("Array("):
        inner = _polars_type(dtype[len("Array(") : -1])
        return None if inner is None else pl.List(inner)
    return _TYPES.get(dtype)


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
