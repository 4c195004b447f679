"""Reads any online store that Feast supports, through its SDK.

It asks the provider for protobuf values: the SDK's `get_online_features` spends most of its time on
building response objects that would be taken apart again here. Feast is synchronous, and some of
its stores' connections belong to a thread, so reads run in one thread of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.features.catalog import ViewInfo
from serving.features.errors import FeaturesUnavailableError
from serving.features.questions import Lookup, Part
from serving.features.vectors import MISSING, Block

# Feast's value types of keys → the field of its protobuf value
_KEY_FIELDS = {
    "STRING": "string_val", "BYTES": "bytes_val", "INT32": "int32_val", "INT64": "int64_val",
    "UNIX_TIMESTAMP": "unix_timestamp_val",
}  # fmt: skip


class SdkReader:
    """Any store.

    Args:
        store: Feast's.
        timeout_s: a read takes no longer; the thread's own call may go on.
    """

    def __init__(self, store: Any, timeout_s: float) -> None:
        self.store = store
        self.timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "features")
        self._views: dict[str, Any] = {}
        self._provider: Any = None

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    def _connect(self) -> None:
        from feast.infra.provider import get_provider

        self._provider = get_provider(self.store.config)

    async def read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._read, lookups)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await call
        except TimeoutError as error:
            raise FeaturesUnavailableError(
                f"the online store did not answer in {self.timeout_s} s"
            ) from error
        except Exception as error:
            raise FeaturesUnavailableError(f"the online store failed: {error}") from error

    async def keys(self, views: Sequence[ViewInfo], limit: int) -> list[Any]:
        return []  # Feast's interface cannot list keys

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        return [[self._block(lookup, part) for part in lookup.parts] for lookup in lookups]

    def _block(self, lookup: Lookup, part: Part) -> Block:
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value
        from feast.type_map import feast_value_type_to_python_type as as_python

        name = part.view.name
        if name not in self._views:
            self._views[name] = self.store.get_feature_view(name)
        field = _KEY_FIELDS[lookup.key_type]
        keys = [
            EntityKey(join_keys=[lookup.key], entity_values=[Value(**{field: value})])
            for value in lookup.values
        ]
        rows = self._provider.online_read(
            self.store.config, self._views[name], keys, list(part.features)
        )
        # Feast's Redis store gives absent keys a row of 1970.
        found = [bool(time and values and time.timestamp()) for time, values in rows]
        columns = [
            [
                as_python(values[feature]) if here and feature in values else MISSING
                for here, (_, values) in zip(found, rows, strict=True)
            ]
            for feature in part.features
        ]
        times = [time if here else None for here, (time, _) in zip(found, rows, strict=True)]
        return Block(times, columns, [None not in c and MISSING not in c for c in columns])
