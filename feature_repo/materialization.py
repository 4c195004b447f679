"""From tables to answers: compute each view, keep it offline, put the newest values online."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from feature_repo.entities import item, user
from feature_repo.services import feature_services
from feature_repo.store import StoreError, create_store
from feature_repo.transformations.item_statistics import item_statistics
from feature_repo.transformations.user_history import user_history
from feature_repo.transformations.user_statistics import user_statistics
from feature_repo.views import SCHEMAS, feature_view, table_path

log = logging.getLogger(__name__)


@dataclass
class Materialization:
    """Compute and publish the feature views.

    Args:
        folder: the features folder.
        online_store, offline_store: Feast's configuration of them.
        history_length: items kept in a user's history.
        write_rows: keys written online at once.
        memory_limit: of DuckDB, which spills to disk beyond it.
    """

    folder: Path
    online_store: Mapping[str, Any]
    offline_store: Mapping[str, Any]
    history_length: int
    write_rows: int
    memory_limit: str

    def __call__(
        self, interactions: pa.Table, events: Path | None
    ) -> dict[str, dict[str, float | int | str]]:
        """Publish every view that the sources allow; returns rows and seconds by view.

        Args:
            interactions: user_id, item_id, timestamp in per-user order of time.
            events: the warehouse's events table, or None where there is no warehouse; the
                statistics views need it.

        Raises:
            StoreError: a table cannot be read; the message names the file.
        """
        folder = Path(self.folder).resolve()
        connection = ibis.duckdb.connect(memory_limit=self.memory_limit)
        position = pa.array(range(len(interactions)), pa.int64())
        numbered = interactions.append_column("position", position)
        touched = ibis.memtable(numbered)
        computed: dict[str, Callable[[], Table]] = {
            "user_history": lambda: user_history(touched, self.history_length)
        }
        if events is not None:
            table = connection.read_parquet(str(events / "**" / "*.parquet"))
            computed["user_statistics"] = lambda: user_statistics(table)
            computed["item_statistics"] = lambda: item_statistics(table)
        else:
            log.info("no warehouse events: the statistics views are left out")
        summary = {
            name: self._offline(connection, name, make(), folder) for name, make in computed.items()
        }
        store = create_store(folder, self.online_store, self.offline_store)
        views = {name: feature_view(name, folder) for name in computed}
        store.apply([user, item, *views.values(), *feature_services(views)])
        for name in views:
            summary[name] |= self._online(connection, store, name, folder)
        return summary

    def _offline(
        self, connection: Any, name: str, values: Table, folder: Path
    ) -> dict[str, float | int | str]:
        """Write a view's table beside its goal and rename it: readers never see half a file."""
        started = time.perf_counter()
        path = table_path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        created = ibis.literal(datetime.now(UTC)).cast("timestamp('UTC', 6)")
        utc = values.event_timestamp.cast("timestamp('UTC', 6)")
        try:
            connection.to_parquet(
                values.mutate(event_timestamp=utc, created_timestamp=created), partial
            )
        except Exception as error:
            partial.unlink(missing_ok=True)
            raise StoreError(f"view {name}: {str(error).splitlines()[0]}") from error
        partial.replace(path)
        rows = pq.read_metadata(path).num_rows
        seconds = time.perf_counter() - started
        log.info("%s: %d offline rows (%.1f s)", name, rows, seconds)
        return {"offline_rows": rows, "offline_seconds": round(seconds, 2)}

    def _online(
        self, connection: Any, store: Any, name: str, folder: Path
    ) -> dict[str, float | int | str]:
        """Put each key's newest row into the online store, a bounded number at a time."""
        started = time.perf_counter()
        key = SCHEMAS[name][0].join_key
        table = connection.read_parquet(str(table_path(folder, name)))
        newest = ibis.row_number().over(
            ibis.window(group_by=key, order_by=ibis.desc("event_timestamp"))
        )
        latest = table.mutate(place=newest).filter(ibis._.place == 0).drop("place")
        rows = 0
        newest_path = table_path(folder, name).with_suffix(".newest")
        connection.to_parquet(latest, newest_path)
        with pq.ParquetFile(newest_path) as file:
            for batch in file.iter_batches(batch_size=self.write_rows):
                store.write_to_online_store(name, batch.to_pandas(), allow_registry_cache=True)
                rows += len(batch)
        newest_path.unlink()
        seconds = time.perf_counter() - started
        log.info("%s: %d keys online (%.1f s)", name, rows, seconds)
        return {"online_keys": rows, "online_seconds": round(seconds, 2)}
