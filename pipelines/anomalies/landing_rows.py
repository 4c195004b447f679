"""Commits of a partition as rows of the warehouse's tables, sorted by source and time.

`scores`: see `scores.SCHEMA`. `telemetry` holds what was scored, and retraining learns from it:
`source`, `timestamp`, and each field of the model, a 64-bit number; null: missing. Fields that the
model does not have, ids, and what was refused or came twice are not there.

Columns all the way: a batch costs a few calls here, and an event none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.anomalies.journal import SCORES

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.dictionary(pa.int32(), pa.string())
_KEYS = pa.schema([("source", _TEXT), ("timestamp", _TIME)])
_SCORES = pa.schema(
    [*_KEYS, ("score", pa.float32()), ("threshold", pa.float64()), ("anomalous", pa.bool_()),
     ("version", _TEXT)]
)  # fmt: skip


def score_rows(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Rows of `scores`, of a journal's batches (`journal.Record.batch`)."""
    some = [batch.select(list(SCORES)) for batch in batches if len(batch)]
    return in_order(pa.Table.from_batches(some, _SCORES))


def telemetry_rows(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Rows of `telemetry`, of a journal's batches."""
    told: dict[bytes, tuple[str, ...]] = {}  # most batches are told alike
    alike: dict[tuple[str, ...], list[pa.RecordBatch]] = {}
    for batch in batches:
        if len(batch):
            text = batch.schema.metadata[b"record"]
            if text not in told:
                told[text] = tuple(json.loads(text)["fields"])
            alike.setdefault(told[text], []).append(batch)
    parts = [_telemetry(fields, some) for fields, some in alike.items()]
    return in_order(pa.concat_tables([_KEYS.empty_table(), *parts], promote_options="default"))


def _telemetry(fields: Sequence[str], batches: Sequence[pa.RecordBatch]) -> pa.Table:
    keys = pa.Table.from_batches([batch.select(_KEYS.names) for batch in batches], _KEYS)
    flat = np.concatenate([batch.column("values").flatten() for batch in batches])
    # Field by field in memory, as columns are: [F, N].
    values = np.ascontiguousarray(flat.reshape(-1, len(fields)).T, dtype=np.float64)
    for field, column in zip(fields, values, strict=True):
        keys = keys.append_column(field, pa.array(column, from_pandas=True))  # NaN becomes null
    return keys


def in_order(rows: pa.Table) -> pa.Table:
    """Sorted by source and time, each column in one piece."""
    rows = rows.unify_dictionaries().combine_chunks()
    if not len(rows):
        return rows
    source = rows["source"].chunk(0)
    rank = np.argsort(np.argsort(source.dictionary.to_numpy(zero_copy_only=False)))
    order = np.lexsort((times_of(rows), rank[np.asarray(source.indices)]))
    return rows.take(pa.array(order))


def times_of(rows: pa.Table) -> NDArray[np.int64]:
    """[N]: microseconds since 1970."""
    return np.asarray(rows["timestamp"].chunk(0).view(pa.int64()))
