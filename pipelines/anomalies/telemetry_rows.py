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

_KEYS = ("source", "timestamp")
_MOMENT = pl.Datetime("us", "UTC")


def telemetry_rows(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Rows of the table, of a journal's batches (`journal.Record.batch`)."""
    empty = pl.DataFrame(schema={"source": pl.String, "timestamp": _MOMENT})
    parts = [_rows(batch) for batch in batches if len(batch)]
    return pl.concat([empty, *parts], how="diagonal")


def _rows(batch: pa.RecordBatch) -> pl.DataFrame:
    fields = json.loads(batch.schema.metadata[b"record"])["fields"]
    values = np.asarray(batch.column("values").flatten()).reshape(len(batch), len(fields))
    keys = pl.DataFrame(pa.Table.from_batches([batch.select(list(_KEYS))]))
    keys = keys.cast({"source": pl.String, "timestamp": _MOMENT})
    columns = [
        pl.Series(name, values[:, place].astype(np.float64)).fill_nan(None)
        for place, name in enumerate(fields)
    ]
    return keys.with_columns(columns)
