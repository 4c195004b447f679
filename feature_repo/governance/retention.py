"""Retention: delete what was true only before a view's horizon.

A row of a view holds from its moment until the key's next row, or until the view's TTL ends it.
Retention deletes, by whole days, the rows that had stopped to hold when the horizon (the first
moment kept) began. The one row of each key that still held then is carried over into one file: the
last counts of somebody who went quiet, the history that later days extend. So every join for a
moment after the horizon finds what it found before, and a chained view goes on from where it was.

Limits: a join with a knowledge-time cutoff may miss the row before a carried one; rows of a view
that is computed whole have no days and stay.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from feature_repo.computation import computations, view_files
from feature_repo.governance.errors import GovernanceError
from feature_repo.governance.horizons import set_horizon
from feature_repo.metadata import connect
from feature_repo.store import open_store
from feature_repo.view import CREATED, DAY, TIME, View
from feature_repo.views import VIEWS

log = logging.getLogger(__name__)

CARRIED = "carried.parquet"  # in the last day before the horizon
_FOREVER = timedelta(0)  # a view's TTL: its values do not age


@dataclass(frozen=True)
class Deleted:
    """What was deleted in one place (or would be, in a dry run).

    Args:
        before: rows of earlier days were looked at.
        carried: rows kept of them, because they still held.
        online: values that nobody could be served any more, taken out of the online store.
    """

    place: str
    before: date
    rows: int = 0
    bytes: int = 0
    files: int = 0
    carried: int = 0
    online: int = 0


@dataclass
class Retention:
    """Delete what is older than it may be.

    Args:
        folder: of the store.
        quarantine_days: rejected rows are kept this long; None keeps them.
        predictions: folder of the prediction log's table, `date=YYYY-MM-DD/*.parquet`.
        prediction_days: the log is kept this long; None keeps it.
    """

    folder: Path
    quarantine_days: int | None
    predictions: Path
    prediction_days: int | None

    def __call__(self, as_of: datetime, dry_run: bool) -> list[Deleted]:
        """Bring every place to its retention as of a moment.

        Stopped half-way, it can be run again: the horizon is set before anything goes, so that
        nothing is computed again, and what is carried over is written before its sources go.

        Raises:
            StoreError: the folder holds no store.
            GovernanceError: a file cannot be read.
        """
        try:
            return self._everywhere(as_of, dry_run)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise GovernanceError(
                f"retention stopped: {str(error).splitlines()[0]}; repair or remove the file and "
                "run it again"
            ) from error

    def _everywhere(self, as_of: datetime, dry_run: bool) -> list[Deleted]:
        folder = Path(self.folder).resolve()
        store = open_store(folder)
        metadata = connect(folder)
        deleted = [
            self._view(store, metadata, folder, view, as_of, dry_run)
            for view in VIEWS
            if view.retention is not None and view.partitioned
        ]
        undefined = {f.name for f in (folder / "offline").glob("[!.]*")}
        undefined -= {v.full_name for v in VIEWS}
        if undefined:
            log.warning("no view defines offline/%s: left as it is", ", ".join(sorted(undefined)))
        if self.quarantine_days is not None:
            before = (as_of - timedelta(days=self.quarantine_days)).date()
            files = [f for f in (folder / "quarantine").rglob("*.parquet") if _written(f) < before]
            deleted.append(_delete("quarantine", before, files, dry_run))
        if self.prediction_days is not None:
            before = (as_of - timedelta(days=self.prediction_days)).date()
            files = [
                f
                for f in Path(self.predictions).rglob("*.parquet")
                if (day := _date_of(f)) is not None and day < before
            ]
            deleted.append(_delete("predictions", before, files, dry_run))
        return deleted

    def _view(
        self,
        store: Any,
        metadata: sa.Engine,
        folder: Path,
        view: View,
        as_of: datetime,
        dry_run: bool,
    ) -> Deleted:
        assert view.retention is not None
        before = (as_of - view.retention).date()
        target = view.folder(folder) / f"{DAY}={before - timedelta(days=1)}" / CARRIED
        old = [f for day, f in view_files(view, folder) if day is not None and day < before]
        place = f"offline/{view.full_name}"
        if not dry_run:
            _refuse_unpublished(metadata, view, before)
            set_horizon(metadata, view.full_name, before)
            _forget_days(metadata, view, before)
            _remove_empty(view.folder(folder))
        if not old or old == [target]:
            return Deleted(place, before)
        rows = pl.scan_parquet(old, hive_partitioning=False, missing_columns="insert")
        newest = rows.group_by(view.key).agg(pl.exclude(view.key).sort_by(TIME, CREATED).last())
        start = datetime(before.year, before.month, before.day, tzinfo=UTC)
        held = newest.collect(engine="streaming")
        holds = pl.lit(True) if view.ttl == _FOREVER else pl.col(TIME) >= start - view.ttl
        carried = held.filter(holds)
        online = 0
        if len(carried) < len(held):
            gone = held.filter(~holds)[view.key].to_list()
            unservable = min(start, as_of - view.ttl)
            online = forget(store, view, gone, unservable, dry_run)
        everything = rows.select(pl.len()).collect().item()
        if not dry_run:
            _write(carried.sort(view.key), target)
        sources = [f for f in old if f != target]
        done = _delete(place, before, sources, dry_run)
        kept = [f for f in old if f == target]
        if not dry_run:
            _remove_empty(view.folder(folder))
        return Deleted(
            place,
            before,
            rows=everything - len(carried),
            bytes=done.bytes,
            files=len(sources) + (len(kept) if carried.is_empty() else 0),
            carried=len(carried),
            online=online,
        )


def forget(
    store: Any, view: View, keys: Sequence[str], before: datetime | None, dry_run: bool
) -> int:
    """Take a view's values of some keys out of the online store; returns how many there were."""
    from feature_repo.governance.online import entity_keys, online_store

    return int(
        online_store(store).forget(
            store.config,
            entity_keys(view.key, view.entity, keys),
            store.get_feature_view(view.full_name, allow_registry_cache=True),
            before=before,
            dry_run=dry_run,
        )
    )


def _refuse_unpublished(metadata: sa.Engine, view: View, before: date) -> None:
    """Rows that are not online yet would never get there."""
    query = sa.select(sa.func.count()).where(
        computations.c.view == view.full_name,
        computations.c.day < before,
        computations.c.published_at.is_(None),
    )
    with metadata.connect() as connection:
        waiting = connection.execute(query.select_from(computations)).scalar_one()
    if waiting:
        raise GovernanceError(
            f"view {view.full_name}: {waiting} days before {before} are computed but not yet "
            "online; run `python scripts/materialize.py` first"
        )


def _forget_days(metadata: sa.Engine, view: View, before: date) -> None:
    mine = computations.c.view == view.full_name
    with metadata.begin() as connection:
        connection.execute(computations.delete().where(mine, computations.c.day < before))


def _write(frame: pl.DataFrame, path: Path) -> None:
    if frame.is_empty():
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    frame.write_parquet(partial)
    partial.replace(path)


def _remove_empty(folder: Path) -> None:
    for day in folder.glob(f"{DAY}=*"):
        if not any(day.iterdir()):
            day.rmdir()


def _delete(place: str, before: date, files: Sequence[Path], dry_run: bool) -> Deleted:
    rows: int = sum(
        pl.scan_parquet(f, hive_partitioning=False).select(pl.len()).collect().item() for f in files
    )
    size = sum(f.stat().st_size for f in files)
    if not dry_run:
        for file in files:
            file.unlink(missing_ok=True)
    return Deleted(place, before, rows, size, len(files))


def _written(file: Path) -> date:
    """The day on which a quarantine file was written: its name says it, or else its time."""
    try:
        return datetime.strptime(file.stem[:8], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        pass
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).date()


def _date_of(file: Path) -> date | None:
    name = file.parent.name
    return date.fromisoformat(name.removeprefix("date=")) if name.startswith("date=") else None
