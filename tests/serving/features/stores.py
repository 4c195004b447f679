"""Stores for the feature client's tests, and the shipped client over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureView, Field, FileSource, ValueType
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.store import create_store
from scripts.entrypoint import CONFIGS
from serving.features.client import FeatureClient
from tests.feature_repo.stores import REGISTRY

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)


def online(kind: str, redis_server: str) -> dict[str, Any]:
    """The `online_store` part of `feature_store.yaml`; `sdk` has no reader of its own."""
    return {
        "sqlite": {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
        "redis": {
            "type": "feature_repo.online.stores.RedisOnlineStore",
            "connection_string": redis_server,
        },
        "sdk": {"type": "sqlite", "path": "online.db"},
    }[kind]


def view(name: str, entity: Entity, schema: Mapping[str, Any], **more: Any) -> FeatureView:
    """A view over a table that nobody reads."""
    return FeatureView(
        name=name,
        entities=[entity],
        schema=[Field(name=n, dtype=t) for n, t in schema.items()],
        source=FileSource(name=f"{name}_table", path="none.parquet", timestamp_field="ts"),
        **more,
    )


def make_store(folder: Path, online_store: Mapping[str, Any], *views: FeatureView) -> Any:
    store = create_store(folder, online_store, {"type": "duckdb"}, REGISTRY)
    store.apply([USER, ITEM, *views])
    return store


def write(store: Any, view_name: str, rows: list[dict[str, Any]]) -> None:
    store.write_to_online_store(view_name, pd.DataFrame(rows))


def client_of(folder: Path, *overrides: str) -> FeatureClient:
    """The shipped settings, pointed at a folder, with a timeout that a busy machine keeps."""
    slow = [f"gateway.feature_client.readers.{r}.timeout_s=5" for r in ("redis", "sqlite", "sdk")]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "serve", [f"paths.root={folder}", f"paths.features={folder}", *slow, *overrides]
        )
    client = instantiate(cfg.gateway.feature_client)
    assert isinstance(client, FeatureClient)
    return client
