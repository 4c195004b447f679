"""Feast's online stores with freshness and order kept: SQLite for one machine, Redis for many.

`feature_store.yaml` names them by class: `type: feature_repo.online.stores.SqliteOnlineStore`.

Both keep the row with the newer `event_timestamp`, to the microsecond, and let an equal one
replace it, whoever writes at the same time. Feast 0.67's SQLite store lets the last writer win and
cuts moments to whole seconds; its Redis store reads, compares and then writes, and drops equal
moments.
"""

from __future__ import annotations

from feature_repo.online.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feature_repo.online.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

__all__ = [
    "RedisOnlineStore",
    "RedisOnlineStoreConfig",
    "SqliteOnlineStore",
    "SqliteOnlineStoreConfig",
]
