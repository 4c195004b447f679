"""Feast's online stores with freshness kept: SQLite for one machine, Redis for many.

`feature_store.yaml` names them by class: `type: feature_repo.online.stores.SqliteOnlineStore`.
"""

from __future__ import annotations

from typing import Literal

from feast.infra.online_stores import redis, sqlite

from feature_repo.online.freshness import FreshReads


class SqliteOnlineStoreConfig(sqlite.SqliteOnlineStoreConfig):
    """The `online_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.online.stores.SqliteOnlineStore"]  # type: ignore[assignment]


class SqliteOnlineStore(FreshReads, sqlite.SqliteOnlineStore):
    """One file; for a laptop and for tests."""


class RedisOnlineStoreConfig(redis.RedisOnlineStoreConfig):
    """The `online_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.online.stores.RedisOnlineStore"]  # type: ignore[assignment]


class RedisOnlineStore(FreshReads, redis.RedisOnlineStore):
    """One hash a key; for production."""
