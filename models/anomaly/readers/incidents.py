"""When something was wrong with which source: a log of incidents as labels of telemetry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from models.anomaly.telemetry import ANOMALOUS, NORMAL, Telemetry, TelemetryError
from models.recommender.readers.files import MissingInputError


def labelled(telemetry: Telemetry, folder: str | Path, others: int = NORMAL) -> Telemetry:
    """Rows from an incident's start to before its end become anomalous, all others `others`.

    Args:
        folder: Parquet files with source, start, end and others; sources without telemetry are
            left out.

    Raises:
        MissingInputError: no such files.
        TelemetryError: a column is missing.
    """
    files = sorted(Path(folder).glob("**/*.parquet"))
    if not files:
        raise MissingInputError(f"{folder}: no Parquet files of incidents")
    parts = [pl.read_parquet(file, hive_partitioning=False) for file in files]
    incidents = pl.concat(parts, how="diagonal_relaxed")
    absent = {"source", "start", "end"} - set(incidents.columns)
    if absent:
        raise TelemetryError(f"{folder}: no column {sorted(absent)[0]!r}")
    label = np.full(len(telemetry), others, np.int8)
    code = {name: i for i, name in enumerate(telemetry.sources)}
    bounds = np.searchsorted(telemetry.source, np.arange(len(code) + 1))
    spans = incidents.select(
        "source", pl.col("start").dt.epoch("s"), pl.col("end").dt.epoch("s")
    )  # fmt: skip
    for source, start, end in spans.iter_rows():
        if source not in code:
            continue
        first, last = bounds[code[source]], bounds[code[source] + 1]
        at = first + np.searchsorted(telemetry.time[first:last], [start, end])
        label[at[0] : at[1]] = ANOMALOUS
    return replace(telemetry, label=label)
