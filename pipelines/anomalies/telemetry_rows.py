"""What was scored, as rows of the warehouse's `telemetry` table: retraining learns from them.

Columns: `source`, `timestamp`, and each field of the model, a 64-bit number; null: missing. Fields
that the model does not have, ids, and what was refused or came twice are not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import polars as pl
import pyarrow as pa

_MOMENT = pl.Datetime("us", "UTC")


def telemetry_rows(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Rows of the table, of a journal's batches (`journal.Record.batch`)."""
    empty = pl.DataFrame(schema={"source": pl.String, "timestamp": _MOMENT})
    alike: dict[tuple[str, ...], list[pa.RecordBatch]] = {}
    for batch in batches:
        if len(batch):
            fields = json.loads(batch.schema.metadata[b"record"])["fields"]
            alike.setdefault(tuple(fields), []).append(batch)
    parts = [_rows(fields, some) for fields, some in alike.items()]
    return pl.concat([empty, *parts], how="diagonal")


def _rows(fields: tuple[str, ...], batches: list[pa.RecordBatch]) -> pl.DataFrame:
    """All at once: a frame for each batch would cost more than the rest of landing."""
    source = pa.chunked_array([batch.column("source") for batch in batches])
    moment = np.concatenate([batch.column("timestamp").view(pa.int64()) for batch in batches])
    flat = np.concatenate([batch.column("values").flatten() for batch in batches])
    # Field by field in memory, as columns are.
    values = np.ascontiguousarray(flat.reshape(-1, len(fields)).T, dtype=np.float64)
    columns = {
        "source": pl.Series(source).cast(pl.String),
        "timestamp": pl.Series(moment).cast(_MOMENT),
    }
    return pl.DataFrame(columns | dict(zip(fields, values, strict=True)), nan_to_null=True)
