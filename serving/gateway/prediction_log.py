"""The prediction log: what was answered to whom, kept for skew, drift and experiments.

Rows wait in memory, at most `max_rows` of them, and go to Parquet files of the warehouse's
`predictions` table from a thread: an answer never waits for its log. Rows that do not fit are
counted and dropped.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from serving.gateway.metrics import GatewayMetrics

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("user_id", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("variant", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("features", pa.string()),  # JSON: "view:feature" → value as served; null: none were read
        ("feature_timestamp", pa.timestamp("us", tz="UTC")),  # the newest of their moments
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        # How likely the policy was to show each item at its place, given those before it.
        ("propensity", pa.list_(pa.float64())),
        ("policy", pa.string()),  # which chose among the candidates
        ("skipped", pa.list_(pa.string())),  # "stage: reason" of stages that the answer lacks
        ("latency_ms", pa.float32()),
        ("ranker", pa.string()),  # the model that put them in order; null: none did
        ("ranker_version", pa.string()),
        # JSON: what it was asked with about the items shown, as a question to it is written:
        # {"user": {field: value}, "items": {"item_id": […], field: [one an item]}}.
        ("ranker_features", pa.string()),
    ]
)
# Columns of few values.
DICTIONARY = ["model", "version", "source", "reason", "policy", "ranker", "ranker_version"]


class PredictionLog:
    """Append rows; flush every `interval_s` seconds and on closing.

    Rows become columns a `chunk` at a time, so that no answer waits while thousands are converted:
    conversion holds the interpreter's lock, writing a file does not.

    Args:
        folder: of the table; files land in `date=YYYY-MM-DD/`, by the day of a chunk's last row.
        ranker_features: whether rows have what the ranker was asked with.
    """

    def __init__(
        self,
        folder: str | Path,
        interval_s: float,
        max_rows: int,
        chunk: int = 128,
        ranker_features: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.interval_s = interval_s
        self.max_rows = max_rows
        self.chunk = chunk
        self.ranker_features = ranker_features
        self._rows: list[dict[str, Any]] = []
        self._chunks: list[tuple[str, pa.RecordBatch]] = []  # day, rows
        self._flushing: asyncio.Task[None] | None = None
        self.metrics: GatewayMetrics | None = None

    def append(self, **row: Any) -> None:
        """Keep one row for the next flush; `timestamp` is now, features a mapping or None."""
        if len(self._chunks) * self.chunk + len(self._rows) >= self.max_rows:
            if self.metrics is not None:
                self.metrics.log_dropped.inc()
            return
        row["timestamp"] = datetime.now(UTC)
        for name in ("features", "ranker_features"):
            if row.get(name) is not None:
                row[name] = orjson.dumps(row[name], default=str).decode()
        self._rows.append(row)
        if len(self._rows) >= self.chunk:
            self._convert()

    async def open(self, metrics: GatewayMetrics) -> None:
        self.metrics = metrics
        self._flushing = asyncio.create_task(self._flush_forever())

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        await self.flush()

    async def flush(self) -> None:
        """Write what waits; rows of a failed write (a full disk, say) are counted as dropped."""
        self._convert()
        by_day: dict[str, list[pa.RecordBatch]] = {}
        for day, chunk in self._chunks:
            by_day.setdefault(day, []).append(chunk)
        self._chunks = []
        for day, chunks in by_day.items():
            table = pa.Table.from_batches(chunks, SCHEMA)
            try:
                await asyncio.to_thread(self._write, day, table)
            except OSError as error:
                log.warning("%d predictions not logged: %s", len(table), error)
                if self.metrics is not None:
                    self.metrics.log_dropped.inc(len(table))

    def _convert(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            day = f"{rows[-1]['timestamp']:%Y-%m-%d}"
            self._chunks.append((day, pa.RecordBatch.from_pylist(rows, schema=SCHEMA)))

    def _write(self, day: str, table: pa.Table) -> None:
        folder = self.folder / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{uuid.uuid4().hex}.parquet"
        partial = folder / f".{name}"  # readers' patterns skip dot files
        pq.write_table(table, partial, use_dictionary=DICTIONARY, compression="zstd")
        partial.replace(folder / name)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            await self.flush()
