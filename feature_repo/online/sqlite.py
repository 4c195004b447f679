"""Feast's SQLite online store, with order and freshness kept.

Moments are kept as seconds since 1970 with their microseconds, which Feast cuts off; several
processes may write and read at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from feast import utils
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores import sqlite
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import model_validator

from feature_repo.online.forgetting import SqliteForgetting
from feature_repo.online.freshness import FreshReads

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[Any, dict[str, Any], datetime, datetime | None]  # key, values, moment, created


class SqliteOnlineStoreConfig(sqlite.SqliteOnlineStoreConfig):
    """The `online_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.online.stores.SqliteOnlineStore"]  # type: ignore[assignment]
    busy_s: float = 30.0
    """How long a writer waits for another one."""

    @model_validator(mode="after")
    def _no_vectors(self) -> SqliteOnlineStoreConfig:
        if self.vector_enabled or self.enable_openai_compatible_store:
            raise ValueError("this online store has no vector search; use Feast's own `sqlite`")
        return self


class SqliteOnlineStore(FreshReads, SqliteForgetting, sqlite.SqliteOnlineStore):
    """One file; for a laptop and for tests."""

    def _get_conn(self, config: Any) -> sqlite3.Connection:
        """Without Feast's converters, which cannot read fractions of seconds."""
        if not self._conn:
            path = self._get_db_path(config)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._conn = sqlite3.connect(
                path, timeout=config.online_store.busy_s, check_same_thread=False
            )
            self._conn.execute("PRAGMA journal_mode = WAL")  # readers and a writer at once
            self._conn.execute("PRAGMA synchronous = NORMAL")
        return self._conn

    def online_write_batch(
        self, config: Any, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        connection = self._get_conn(config)
        with connection:
            connection.executemany(
                f"INSERT INTO {_table(config, table)} AS old "
                "(entity_key, feature_name, value, value_text, event_ts, created_ts) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (entity_key, feature_name) DO UPDATE SET "
                "value = excluded.value, value_text = excluded.value_text, "
                "event_ts = excluded.event_ts, created_ts = excluded.created_ts "
                "WHERE excluded.event_ts >= old.event_ts",
                _rows(config, data),
            )
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: Any,
        table: Any,
        entity_keys: list[Any],
        requested_features: Sequence[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        keys = [_key(config, key) for key in entity_keys]
        marks = ",".join("?" * len(keys))
        rows = self._get_conn(config).execute(
            f"SELECT entity_key, feature_name, value, event_ts FROM {_table(config, table)} "
            f"WHERE entity_key IN ({marks}) ORDER BY entity_key",
            keys,
        )
        found = {}
        for key, features in groupby(rows, key=lambda row: row[0]):
            listed = list(features)
            moment = _EPOCH + timedelta(microseconds=round(max(r[3] for r in listed) * 1e6))
            found[key] = (moment, {name: Value.FromString(v) for _, name, v, _ in listed})
        return [found.get(key, (None, None)) for key in keys]


def _rows(config: Any, data: list[Row]) -> Iterator[tuple[Any, ...]]:
    for entity_key, values, timestamp, created in data:
        key = _key(config, entity_key)
        moment = utils.make_tzaware(timestamp).timestamp()
        made = utils.make_tzaware(created).timestamp() if created is not None else None
        for name, value in values.items():
            text, _ = extract_text_and_num(value, compute_num=False)
            yield key, name, value.SerializeToString(), text, moment, made


def _key(config: Any, entity_key: Any) -> bytes:
    key: bytes = serialize_entity_key(entity_key, config.entity_key_serialization_version)
    return key


def _table(config: Any, table: Any) -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    name: str = sqlite._quote_id(sqlite._table_id(config.project, table, versioned))
    return name
