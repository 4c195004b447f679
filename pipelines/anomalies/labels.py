"""Verdicts as labels to learn from: the warehouse's `labels` table, joined by source and time.

One row for each judged event; the newest verdict counts. Each row carries the event's values as
the stream saw them, so that a label outlives the telemetry that it speaks of.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from pipelines.anomalies.store import ANOMALIES, connect
from pipelines.anomalies.verdicts import between, last_verdicts

log = logging.getLogger(__name__)

TABLE = "labels"
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,  # of the event
    "source": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),  # of the event
    "verdict": pl.String,  # confirmed or dismissed
    "reason": pl.String,
    "who": pl.String,
    "judged_at": pl.Datetime("us", "UTC"),
    "score": pl.Float64,  # null: scoring had failed
    "threshold": pl.Float64,
    "version": pl.String,  # of the model that found it
    "fields": pl.List(pl.Struct({"name": pl.String, "value": pl.Float64})),
}


def labels(engine: sa.Engine, since: int | None = None, until: int | None = None) -> pl.DataFrame:
    """Judged events with an event time in [since, until) microseconds; columns as `SCHEMA`."""
    last = last_verdicts()
    wanted = ("id", "source", "timestamp", "score", "threshold", "version", "fields")
    query = (
        sa.select(
            *(ANOMALIES.c[name] for name in wanted),
            *(last.c[name] for name in ("verdict", "reason", "who")),
            last.c.at.label("judged_at"),
        )
        .select_from(ANOMALIES.join(last, last.c.anomaly == ANOMALIES.c.id))
        .where(*between(since, until))
        .order_by(ANOMALIES.c.timestamp, ANOMALIES.c.id)
    )
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["fields"] = [
            {"name": name, "value": part.get("value")} for name, part in row["fields"].items()
        ]
    frame = pl.DataFrame(rows, schema=SCHEMA | {"timestamp": pl.Int64, "judged_at": pl.Int64})
    return frame.cast({name: SCHEMA[name] for name in ("timestamp", "judged_at")})


def write(frame: pl.DataFrame, warehouse: Path) -> Path:
    """Replace the `labels` table, one file a day of events; returns its folder.

    Days are replaced one by one, each in one step; days without a label any more are removed.
    """
    folder = Path(warehouse) / TABLE
    folder.mkdir(parents=True, exist_ok=True)
    dated = frame.with_columns(pl.col("timestamp").dt.date().alias("date"))
    kept = set()
    for (date,), rows in dated.partition_by("date", as_dict=True, include_key=False).items():
        day = folder / f"date={date}"
        day.mkdir(exist_ok=True)
        file, beside = day / "labels.parquet", day / f".labels.{os.getpid()}"
        rows.write_parquet(beside)
        beside.replace(file)
        kept.add(file)
    for file in folder.glob("date=*/labels.parquet"):
        if file not in kept:
            file.unlink()
    log.info("%d labels in %s", len(frame), folder)
    return folder


def refresh(store: str, warehouse: str | Path) -> int:
    """Bring the `labels` table up to the store at this URL; returns how many labels there are.

    Raises:
        AnomalyStoreError: the store cannot be reached.
    """
    engine = connect(store)
    try:
        frame = labels(engine)
    finally:
        engine.dispose()
    write(frame, Path(warehouse))
    return len(frame)
