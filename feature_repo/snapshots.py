"""Training sets that can be trusted later: rows as Parquet, and a manifest of where they came from.

A snapshot is a folder with `data.parquet` and `manifest.json`, written once. The manifest holds
hashes of the rows, the query, and the state of everything that the query read. `verify` says
whether the rows are still those, and whether the same query would give them again.

Limits: one training set is in memory at a time, as the point-in-time join has it there too.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.content import content_hash
from feature_repo.entity_frame import read_entities
from feature_repo.registry.author import Author
from feature_repo.snapshot_query import Query, changed_sources, run, source_versions
from feature_repo.store import StoreError

DATA, MANIFEST = "data.parquet", "manifest.json"
FORMAT = 1


class SnapshotError(StoreError):
    """A snapshot that cannot be taken, or is not what it was."""

    exit_code = 65  # EX_DATAERR


@dataclass
class Verification:
    """What `verify` found.

    Args:
        damage: how the snapshot differs from its manifest; empty: it is intact.
        obstacles: what has changed in the store since, so that a rebuild may differ.
        differences: after a rebuild: how its rows differ; None: none was asked for.
    """

    folder: Path
    damage: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    differences: list[str] | None = None


def take(
    store: Any, folder: Path, name: str, entities: Path, output: Path, query: Query, who: Author
) -> dict[str, Any]:
    """Join the features to the entities and keep the result; returns the manifest.

    Args:
        store: Feast's, in `folder`.
        entities: CSV or Parquet with the keys, `event_timestamp`, and what requests send.
        output: the new snapshot's folder.

    Raises:
        SnapshotError: the folder is there already, or the store changed meanwhile.
        EntityFrameError, StoreError, JoinError: bad entities, unknown features, broken files.
    """
    if output.exists():
        raise SnapshotError(f"{output} exists; a snapshot is never overwritten")
    frame = read_entities(entities, query.keys(), query.sent())
    sources = source_versions(folder, query, frame)
    rows = run(store, query, frame)
    moved = changed_sources(folder, sources)
    if moved:
        raise SnapshotError(
            "the offline tables changed while they were read, so nothing was saved: "
            + "; ".join(moved)
        )
    code, columns = content_hash(rows)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "created_at": datetime.now(UTC).isoformat(),
        "by": who.by,
        "why": who.why,
        "rows": len(rows),
        "content": code,
        "columns": columns,
        "query": {
            "service": query.service,
            "features": list(query.refs),
            "full_names": query.full_names,
            "known_only": query.known_only,
            "entities": {
                "file": entities.name,
                "sha256": file_hash(entities),
                "columns": frame.columns,
            },
        },
        "views": sources,
        "made_with": {
            "feast": version("feast"), "polars": pl.__version__,
            "python": platform.python_version(),
        },
    }  # fmt: skip
    return _publish(rows, manifest, output)


def verify(store: Any, folder: Path, snapshot: Path, rebuild: bool = False) -> Verification:
    """Whether a snapshot is intact, and whether the store would give the same rows again.

    Args:
        rebuild: run the query again, for the entities in the snapshot, and compare the rows.

    Raises:
        SnapshotError: the folder is no snapshot.
    """
    manifest = read_manifest(snapshot)
    found = Verification(snapshot)
    rows = _check_rows(snapshot, manifest, found)
    found.obstacles = changed_sources(folder, manifest["views"])
    if rebuild:
        if rows is None:
            raise SnapshotError(f"{snapshot / DATA} cannot be read: " + "; ".join(found.damage))
        found.differences = _rebuilt(store, folder, manifest, rows)
    return found


def read_manifest(snapshot: Path) -> dict[str, Any]:
    """Raises `SnapshotError` if there is none, or not a readable one."""
    path = snapshot / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SnapshotError(f"{snapshot}: no {MANIFEST}; give a snapshot's folder") from error
    except ValueError as error:
        raise SnapshotError(f"{path}: not JSON ({error}); the snapshot is damaged") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SnapshotError(f"{path}: not a snapshot's manifest of format {FORMAT}")
    return content


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(rows: pl.DataFrame, manifest: dict[str, Any], output: Path) -> dict[str, Any]:
    """Write beside the goal and rename: nobody sees half a snapshot."""
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        rows.write_parquet(staging / DATA)
        manifest["data"] = {"file": DATA, "sha256": file_hash(staging / DATA)}
        manifest["seal"] = _seal(manifest)
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (staging / MANIFEST).write_text(text, encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(output)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise SnapshotError(f"{output}: cannot be written ({error})") from error
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    """A hash of all the rest of the manifest: an edit shows."""
    rest = {k: v for k, v in manifest.items() if k != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_rows(
    snapshot: Path, manifest: dict[str, Any], found: Verification
) -> pl.DataFrame | None:
    if manifest.get("seal") != _seal(manifest):
        found.damage.append(f"{MANIFEST} was edited: its seal does not match what it says")
    path = snapshot / DATA
    if not path.is_file():
        found.damage.append(f"{DATA} is missing")
        return None
    same_file = file_hash(path) == manifest["data"]["sha256"]
    try:
        rows = pl.read_parquet(path, hive_partitioning=False)
        code, columns = content_hash(rows)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        found.damage.append(f"{DATA} was changed and is no whole Parquet file now ({reason})")
        return None
    if code != manifest["content"]:
        found.damage += [f"{DATA} was changed: {t}" for t in _told(manifest, len(rows), columns)]
    elif not same_file:
        found.damage.append(f"{DATA} was written anew: other bytes, though with the same rows")
    return rows


def _told(manifest: dict[str, Any], rows: int, columns: Sequence[dict[str, str]]) -> list[str]:
    """How rows differ from those of the manifest, column by column."""
    if rows != manifest["rows"]:
        return [f"{rows} rows, the manifest says {manifest['rows']}"]
    kept, there = {c["name"]: c for c in manifest["columns"]}, {c["name"]: c for c in columns}
    texts = [f"column {n} is missing" for n in kept if n not in there]
    texts += [f"column {n} was added" for n in there if n not in kept]
    for name in (n for n in kept if n in there and kept[n] != there[n]):
        one, two = kept[name]["type"], there[name]["type"]
        texts.append(
            f"column {name} is {two}, the manifest says {one}"
            if one != two
            else f"values of column {name} are others"
        )
    return texts or ["its columns are in another order"]


def _rebuilt(store: Any, folder: Path, manifest: dict[str, Any], rows: pl.DataFrame) -> list[str]:
    """How the rows of today differ from those of the snapshot; empty: not at all."""
    asked = manifest["query"]
    query = Query.of(
        folder,
        service=asked["service"],
        refs=asked["features"],
        full_names=asked["full_names"],
        known_only=asked["known_only"],
    )
    today = run(store, query, rows.select(asked["entities"]["columns"]))
    views = query.columns()
    texts, differing = [], pl.repeat(False, len(rows), eager=True)
    for name in (c for c in rows.columns if c not in asked["entities"]["columns"]):
        view = views.get(name, "?")
        if rows.schema[name] != today.schema[name]:
            texts.append(
                f"view {view}: {name} is {today.schema[name]} now, it was {rows.schema[name]}"
            )
            continue
        unequal = rows[name].ne_missing(today[name])
        if unequal.any():
            differing = differing | unequal
            texts.append(f"view {view}: {name} differs in {unequal.sum()} of {len(rows)} rows")
    if texts:
        texts.append(f"{differing.sum()} of {len(rows)} rows differ in all")
    return texts
