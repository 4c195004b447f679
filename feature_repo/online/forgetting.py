"""Taking single keys out of an online store, which Feast's interface has no call for.

Mix into an online store class of Feast. `forget(config, keys, view, before, dry_run)` counts the
values (one view's row of one key) that it finds and, unless `dry_run`, removes them:

    keys: Feast's entity keys.
    view: None: the values of every view.
    before: only values of earlier moments; one that a push has renewed meanwhile stays.

Limits: Redis keeps values in its memory only as far as we are concerned: an append-only file or a
snapshot on its disk forgets them at its next rewrite (BGREWRITEAOF, BGSAVE).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import (
    _mmh3,
    _redis_key,
    compute_table_id,
    compute_versioned_name,
)

# Remove a view's fields only while they are the ones that were looked at.
_REMOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1], unpack(ARGV, 3))
return 1
"""
_protobuf: Any = __import__("google.protobuf.timestamp_pb2", fromlist=["Timestamp"])
_BATCH = 500  # keys asked for in one round trip


class SqliteForgetting:
    """Rows are overwritten with zeros, and the file is written anew: no free page keeps an id."""

    def forget(
        self,
        config: Any,
        keys: Sequence[Any],
        view: Any | None = None,
        before: datetime | None = None,
        dry_run: bool = False,
    ) -> int:
        connection: sqlite3.Connection = self._get_conn(config)  # type: ignore[attr-defined]
        version = config.entity_key_serialization_version
        codes = [(serialize_entity_key(k, entity_key_serialization_version=version),) for k in keys]
        if view is None:
            tables = _tables(connection, f"{config.project}_")
        else:
            tables = [compute_table_id(config.project, view, _versioned(config))]
            tables = [t for t in tables if t in _tables(connection, t)]
        moment = before.timestamp() if before else None
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        found = 0
        with connection:
            connection.execute(
                "CREATE TEMP TABLE IF NOT EXISTS asked (entity_key BLOB PRIMARY KEY)"
            )
            connection.execute("DELETE FROM asked")
            connection.executemany("INSERT OR IGNORE INTO asked VALUES (?)", codes)
            for table in tables:
                which = f'FROM "{table}" WHERE entity_key IN (SELECT entity_key FROM asked)'
                if moment is not None:
                    which += " AND event_ts < ?"
                values = () if moment is None else (moment,)
                query = f"SELECT count(DISTINCT entity_key) {which}"
                found += connection.execute(query, values).fetchone()[0]
                if not dry_run:
                    connection.execute(f"DELETE {which}", values)
            connection.execute("DELETE FROM asked")
        if found and not dry_run:
            # Feast's own overwriting leaves old bytes in free space.
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(found)


class RedisForgetting:
    """Whole hashes of a key, or one view's fields of them."""

    def forget(
        self,
        config: Any,
        keys: Sequence[Any],
        view: Any | None = None,
        before: datetime | None = None,
        dry_run: bool = False,
    ) -> int:
        client = self._get_client(config.online_store)  # type: ignore[attr-defined]
        version = config.entity_key_serialization_version
        names = [
            _redis_key(config.project, key, entity_key_serialization_version=version)
            for key in keys
        ]
        found = 0
        for start in range(0, len(names), _BATCH):
            part = names[start : start + _BATCH]
            if view is None:
                found += _forget_whole(client, part, dry_run)
            else:
                name = str(compute_versioned_name(view, _versioned(config)))
                found += _forget_view(client, part, name, view, before, dry_run)
        return found


def _forget_whole(client: Any, names: Sequence[bytes], dry_run: bool) -> int:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hkeys(name)
            if not dry_run:
                pipe.delete(name)
        answers = pipe.execute()
    fields = answers if dry_run else answers[::2]
    return sum(1 for of_key in fields for field in of_key if field.startswith(b"_ts:"))


def _forget_view(
    client: Any, names: Sequence[bytes], name: str, view: Any, before: datetime | None, dry: bool
) -> int:
    moment = f"_ts:{name}".encode()
    with client.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.hget(key, moment)
        written = pipe.execute()
    old = [
        (key, at)
        for key, at in zip(names, written, strict=True)
        if at is not None and (before is None or _moment(at) < before)
    ]
    if dry or not old:
        return len(old)
    fields = [_mmh3(f"{name}:{feature.name}") for feature in view.features]
    with client.pipeline(transaction=False) as pipe:
        for key, at in old:
            pipe.eval(_REMOVE, 1, key, moment, at, *fields)
        return int(sum(pipe.execute()))


def _moment(written: bytes) -> datetime:
    moment = _protobuf.Timestamp()
    moment.ParseFromString(written)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        seconds=moment.seconds, microseconds=moment.nanos // 1000
    )


def _versioned(config: Any) -> bool:
    return bool(config.registry.enable_online_feature_view_versioning)


def _tables(connection: sqlite3.Connection, prefix: str) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    names = [str(name) for (name,) in connection.execute(query)]
    return [
        n
        for n in names
        if n.startswith(prefix)
        and any(c[1] == "entity_key" for c in connection.execute(f'PRAGMA table_info("{n}")'))
    ]
