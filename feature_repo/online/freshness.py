"""What an online read may say: nothing stale, and nothing that was never written.

Feast 0.67 stores a view's TTL and applies it to offline joins only; its online read gives back a
value of any age as PRESENT (feast-dev/feast#6821), and its Redis store says PRESENT of keys that it
does not have. Here a value older than the TTL is null with status OUTSIDE_MAX_AGE, and a key
without a row is NOT_FOUND, before on-demand transformations see them.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value


class FreshReads:
    """Mix into an online store class of Feast, before it."""

    def _read_features_per_fv(
        self, config: Any, grouped_refs: Any, *arguments: Any, **more: Any
    ) -> None:
        response = more.get("online_features_response") or arguments[2]
        before = len(response.results)
        super()._read_features_per_fv(config, grouped_refs, *arguments, **more)  # type: ignore[misc]
        settle(response, before, grouped_refs, time.time())

    async def _read_features_per_fv_async(
        self, config: Any, grouped_refs: Any, *arguments: Any, **more: Any
    ) -> None:
        response = more.get("online_features_response") or arguments[2]
        before = len(response.results)
        await super()._read_features_per_fv_async(  # type: ignore[misc]
            config, grouped_refs, *arguments, **more
        )
        settle(response, before, grouped_refs, time.time())


def settle(response: Any, first: int, grouped_refs: Any, now: float) -> None:
    """Correct values and statuses in a response's vectors from `first` on.

    Args:
        grouped_refs: (view, names of its features) in the order of the vectors.
        now: seconds since 1970.
    """
    place = first
    for view, names in grouped_refs:
        ages = view.ttl is not None and view.ttl > timedelta(0)
        oldest = now - view.ttl.total_seconds() if ages else 0.0
        for vector in response.results[place : place + len(names)]:
            _settle_vector(vector, oldest)
        place += len(names)


def _settle_vector(vector: Any, oldest: float) -> None:
    for row, (status, moment) in enumerate(
        zip(vector.statuses, vector.event_timestamps, strict=True)
    ):
        if status not in (FieldStatus.PRESENT, FieldStatus.NULL_VALUE):
            continue
        if not moment.seconds:  # every row that was written has a moment
            vector.statuses[row] = FieldStatus.NOT_FOUND
        elif moment.seconds + moment.nanos / 1e9 < oldest:
            vector.values[row].CopyFrom(Value())
            vector.statuses[row] = FieldStatus.OUTSIDE_MAX_AGE
