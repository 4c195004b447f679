"""Views as people and programs ask about them: definition, owner, version, freshness.

A contract of the feature store, as `gateway_pushes.py`: it imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def describe(folder: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """These views of `feature_repo/views.py`, by full name; names of others are left out.

    Raises:
        StoreError: no store in the folder.
    """
    from feature_repo.views import VIEWS

    wanted = set(names)
    computed = _computed(Path(folder))
    found = [v for v in VIEWS if v.full_name in wanted]
    return [_described(view, Path(folder), computed.get(view.full_name)) for view in found]


def _described(view: Any, folder: Path, computed: datetime | None) -> dict[str, Any]:
    newest = _newest(view, folder)
    age = (datetime.now(UTC) - newest).total_seconds() if newest else None
    promised = view.freshness.total_seconds()
    return {
        "view": view.full_name,
        "name": view.name,
        "version": view.version,
        "description": view.description,
        "owner": view.owner,
        "entity": view.entity.name,
        "key": view.key,
        "features": [
            {
                "name": f.name,
                "type": str(f.dtype),
                "description": f.description,
                "nullable": f.nullable,
                "lowest": f.lowest,
                "highest": f.highest,
                "allowed": f.allowed,
            }
            for f in view.features
        ],
        "sources": view.sources,
        "transformation": {"path": view.code_path, "code_hash": view.code_hash()},
        "pushed": view.pushed,
        "frequency_s": view.frequency.total_seconds(),
        "ttl_s": view.ttl.total_seconds() or None,
        "retention_s": view.retention.total_seconds() if view.retention else None,
        "freshness": {
            "promised_s": promised,
            "age_s": age,
            "fresh": None if age is None else age <= promised,
            "newest_event_timestamp": newest,
            "computed_at": computed,
        },
        "tags": view.tags,
    }


def _computed(folder: Path) -> dict[str, datetime]:
    """When each view was computed last."""
    import sqlalchemy as sa

    from feature_repo.computation import computations
    from feature_repo.metadata import connect

    column = computations.c.computed_at
    query = sa.select(computations.c.view, sa.func.max(column)).group_by(computations.c.view)
    engine = connect(folder)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query).all()
    finally:
        engine.dispose()
    return {view: moment.replace(tzinfo=moment.tzinfo or UTC) for view, moment in rows}


def _newest(view: Any, folder: Path) -> datetime | None:
    """The newest moment in the newest day's files, from their statistics."""
    import pyarrow.parquet as pq

    from feature_repo.computation import view_files
    from feature_repo.view import TIME

    files = view_files(view, folder)
    days = [day for day, _ in files if day is not None]
    moments = []
    for day, file in files:
        if days and day != max(days):
            continue
        metadata = pq.read_metadata(file)
        column = metadata.schema.names.index(TIME)
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(column).statistics
            if statistics is not None and statistics.has_min_max:
                moments.append(statistics.max)
    newest = max(moments, default=None)
    return newest.replace(tzinfo=newest.tzinfo or UTC) if newest is not None else None
