"""What each user touched, read through Feast's online store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from feature_repo.store import StoreError, feast, open_store

FEATURE = "item_ids"


class HistoryStore:
    """Reads the `item_ids` of a feature service for many users in one round trip.

    It asks the provider for protobuf values: the SDK's `get_online_features` spends most of its
    time on building response objects that would be taken apart again here. Any online store that
    Feast supports works. Reads run in one thread of their own: Feast is synchronous, and SQLite
    connections belong to a thread.

    Raises:
        StoreError: no store in the folder, or no such service or feature in it.
    """

    def __init__(self, folder: Path, service: str) -> None:
        self._thread = ThreadPoolExecutor(1, "features")
        self._open = lambda: self._connect(Path(folder), service)
        self._thread.submit(self._open).result()

    def _connect(self, folder: Path, service: str) -> None:
        feast()
        from feast.infra.provider import get_provider
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        store = open_store(folder)
        try:
            projections = store.get_feature_service(service).feature_view_projections
        except Exception as error:
            raise StoreError(
                f"{folder}: no feature service {service!r} ({error}); run "
                "`python scripts/materialize.py` on the data that the model was trained on"
            ) from error
        names = [p.name for p in projections if FEATURE in {f.name for f in p.features}]
        if not names:
            raise StoreError(f"feature service {service!r} has no feature {FEATURE!r}")
        self._view: Any = store.get_feature_view(names[0])
        self._config: Any = store.config
        self._provider: Any = get_provider(store.config)
        self._key, self._value = EntityKey, Value

    async def read(self, users: list[str]) -> list[list[str] | None]:
        """Histories in the order of `users`, oldest item first; None for a user without one."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, users)

    def _read(self, users: list[str]) -> list[list[str] | None]:
        keys = [
            self._key(join_keys=["user_id"], entity_values=[self._value(string_val=u)])
            for u in users
        ]
        rows = self._provider.online_read(self._config, self._view, keys, [FEATURE])
        return [
            list(values[FEATURE].string_list_val.val) if values and FEATURE in values else None
            for _, values in rows
        ]

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
