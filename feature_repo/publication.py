"""From offline tables to the online store: each key's newest row, if it is news."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.computation import WHOLE, view_files
from feature_repo.online.outage import outages_told
from feature_repo.view import CREATED, TIME, View

log = logging.getLogger(__name__)

_ADVICE = "what was computed is kept offline: run the same command again when it answers"


class Publication:
    """Writes views online.

    The online store keeps the newer of two rows, so that an old day computed again, or a batch that
    comes after a push, never hides what is newer.

    Args:
        store: Feast's.
        folder: of the store.
        write_rows: keys written at once.
        probe_keys: keys looked up to find out whether the online store has lost its content.
    """

    def __init__(self, store: Any, folder: Path, write_rows: int, probe_keys: int) -> None:
        self.store = store
        self.folder = folder
        self.write_rows = write_rows
        self.probe_keys = probe_keys

    def publish(self, view: View, days: Sequence[date] | None) -> dict[str, Any]:
        """Put online what the view's files of these days hold (None: of all days).

        If the online store lacks keys that it should have (an empty new server, say), all of the
        view is published.

        Raises:
            OnlineStoreError: the online store is away; nothing is marked as published.
        """
        with outages_told(self.store, _ADVICE):
            return self._published(view, days)

    def _published(self, view: View, days: Sequence[date] | None) -> dict[str, Any]:
        started = time.perf_counter()
        everything = view_files(view, self.folder)
        wanted = None if days is None else set(days)
        chosen = [f for d, f in everything if wanted is None or (d or WHOLE) in wanted]
        repaired = len(chosen) < len(everything) and self._lost(view, [f for _, f in everything])
        if repaired:
            log.warning("%s: keys are missing online; all of them are written", view.full_name)
            chosen = [f for _, f in everything]
        rows = self._write(view, chosen)
        seconds = time.perf_counter() - started
        log.info("%s: %d keys online (%.1f s)", view.full_name, rows, seconds)
        return {"online_keys": rows, "online_seconds": round(seconds, 2), "repaired": repaired}

    def _write(self, view: View, files: list[Path]) -> int:
        if not files:
            return 0
        newest = newest_rows(view, files).collect(engine="streaming")
        for part in newest.iter_slices(self.write_rows):
            self.store.write_to_online_store(
                view.full_name, part.to_pandas(), allow_registry_cache=True
            )
        return len(newest)

    def _lost(self, view: View, files: list[Path]) -> bool:
        """Whether one of some known keys has never been written to this online store."""
        if not files:
            return False
        rows = pl.scan_parquet(files[-1], hive_partitioning=False).select(view.key)
        keys = rows.unique().sort(view.key).head(self.probe_keys).collect()[view.key].to_list()
        answer = self.store.get_online_features(
            [f"{view.full_name}:{view.features[0].name}"], [{view.key: key} for key in keys]
        )
        statuses = answer.proto.results[-1].statuses
        return any(status == _NOT_FOUND for status in statuses)


_NOT_FOUND = 3  # feast.protos.feast.serving.ServingService_pb2.FieldStatus.NOT_FOUND


def newest_rows(view: View, files: list[Path]) -> pl.LazyFrame:
    """Each key's newest row in a view's offline files."""
    rows = pl.scan_parquet(files, hive_partitioning=False, missing_columns="insert")
    latest = pl.exclude(view.key).sort_by(TIME, CREATED).last()
    return rows.group_by(view.key).agg(latest)
