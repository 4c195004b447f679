"""What one commit did to a partition, as an Arrow stream: enough to do it again without the model.

The columns that everybody may read (`SCORES`) end up as the warehouse's `scores` table; the others
bring sources and thresholds from an older state to where they were: after a crash, or when a
partition goes to another processor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SCORES = ("source", "timestamp", "score", "threshold", "anomalous", "version")
_TIME = pa.timestamp("us", tz="UTC")


class Verdict(NamedTuple):
    """A person's word that thresholds learn from."""

    sequence: int
    source: str
    score: float
    confirmed: bool


class Record(NamedTuple):
    """One commit of one partition: verdicts first, then N events sorted by source and time."""

    fields: tuple[str, ...]
    version: str
    verdicts: list[Verdict]
    source: list[str]
    time_us: NDArray[np.int64]
    score: NDArray[np.float32]  # NaN: scoring failed
    threshold: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    kind: NDArray[np.int8]  # FRESH or LATE
    identity: NDArray[np.uint64]
    values: NDArray[np.float32]  # [N, F]

    def batch(self) -> pa.RecordBatch:
        flat = pa.array(np.ascontiguousarray(self.values).ravel())
        columns = {
            "source": pa.array(self.source, pa.string()).dictionary_encode(),
            "timestamp": pa.array(self.time_us).view(_TIME),
            "score": pa.array(self.score, mask=np.isnan(self.score)),
            "threshold": pa.array(self.threshold),
            "anomalous": pa.array(self.anomalous),
            "version": _repeated(self.version, len(self.source)),
            "kind": pa.array(self.kind),
            "identity": pa.array(self.identity),
            "values": pa.FixedSizeListArray.from_arrays(flat, len(self.fields)),
        }
        told = {"fields": self.fields, "version": self.version, "verdicts": self.verdicts}
        found = pa.RecordBatch.from_pydict(columns)
        return found.replace_schema_metadata({"record": json.dumps(told)})


def _repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def pack(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def unpack(record: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(record).read_next_batch()


def read(batch: pa.RecordBatch, fields: Sequence[str]) -> Record:
    """The reverse of `Record.batch`, with the columns of `values` as these fields have them."""
    told = json.loads(batch.schema.metadata[b"record"])
    column = {name: batch.column(name) for name in batch.schema.names}
    written = np.asarray(column["values"].flatten()).reshape(len(batch), len(told["fields"]))
    values = np.full((len(batch), len(fields)), np.nan, np.float32)
    for place, field in enumerate(told["fields"]):
        if field in fields:
            values[:, list(fields).index(field)] = written[:, place]
    return Record(
        tuple(fields),
        told["version"],
        [Verdict(*v) for v in told["verdicts"]],
        column["source"].to_pylist(),
        np.asarray(column["timestamp"].view(pa.int64())),
        column["score"].fill_null(np.nan).to_numpy(zero_copy_only=False),
        np.asarray(column["threshold"]),
        np.asarray(column["anomalous"]),
        np.asarray(column["kind"]),
        np.asarray(column["identity"]),
        values,
    )
