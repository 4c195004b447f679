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

from serving.features.errors import FeaturesUnavailableError
from serving.features.plans import Group, Part
from serving.features.readers.reader import Lookup
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
        timeout_s: a read takes no longer; the call in the thread may go on.
    """

    def __init__(self, store: Any, timeout_s: float) -> None:
        self.store = store
        self.timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "features")
        self._provider: Any = None

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    def _connect(self) -> None:
        from feast.infra.provider import get_provider

        self._provider = get_provider(self.store.config)

    def prepare(self, group: Group) -> Any:
        return [self.store.get_feature_view(part.view.name) for part in group.parts]

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

    async def keys(self, group: Group, limit: int) -> list[Any]:
        return []  # Feast's interface cannot list keys

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        return [
            [
                self._block(lookup, part, view)
                for part, view in zip(lookup.group.parts, lookup.group.prepared, strict=True)
            ]
            for lookup in lookups
        ]

    def _block(self, lookup: Lookup, part: Part, view: Any) -> Block:
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value
        from feast.type_map import feast_value_type_to_python_type as as_python

        field = _KEY_FIELDS[lookup.group.key_type]
        keys = [
            EntityKey(join_keys=[lookup.group.key], entity_values=[Value(**{field: key})])
            for key in lookup.keys
        ]
        rows = self._provider.online_read(self.store.config, view, keys, list(part.features))
        # Feast's Redis store gives absent keys a row of 1970.
        found = [bool(time and values and time.timestamp()) for time, values in rows]
        types = {f.name: f.dtype.to_value_type() for f in view.features}
        columns = [
            [
                as_python(values[f], types[f]) if here and f in values else MISSING
                for here, (_, values) in zip(found, rows, strict=True)
            ]
            for f in part.features
        ]
        times = [time if here else None for here, (time, _) in zip(found, rows, strict=True)]
        return Block(times, columns, [None not in c and MISSING not in c for c in columns])
