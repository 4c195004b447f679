"""The benchmark's files: labelled time series of one value each."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.anomaly.nab.scoring import Window
from models.anomaly.telemetry import TelemetryError


class Series(NamedTuple):
    """One file: `name` as labels name it, seconds since 1970, values, and its labelled windows."""

    name: str
    time: NDArray[np.int64]
    values: NDArray[np.float64]
    windows: list[Window]


def seconds(text: str) -> int:
    """Times are local and without a zone; only their distances matter."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def read(folder: Path) -> list[Series]:
    """All files below `data/` of a folder laid out like the benchmark.

    Args:
        folder: holds `data/<group>/<file>.csv` with the columns timestamp and value, and
            `labels/combined_windows.json`. A part of the benchmark will do.

    Raises:
        TelemetryError: no such files, a file without labels, a row that is not a time and a number.
    """
    labels = folder / "labels/combined_windows.json"
    paths = sorted(folder.glob("data/*/*.csv"))
    if not labels.is_file() or not paths:
        raise TelemetryError(
            f"{folder} does not look like the Numenta Anomaly Benchmark: it must hold "
            "data/<group>/<file>.csv and labels/combined_windows.json"
        )
    windows = json.loads(labels.read_text())
    return [_series(path, windows) for path in paths]


def _series(path: Path, labels: dict[str, list[list[str]]]) -> Series:
    name = f"{path.parent.name}/{path.name}"
    if name not in labels:
        raise TelemetryError(f"{name} is not in labels/combined_windows.json")
    time, values = [], []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                time.append(seconds(row["timestamp"]))
                values.append(float(row["value"]))
            except (KeyError, TypeError, ValueError) as error:
                raise TelemetryError(
                    f"{path}, line {number}: {dict(row)} is not a timestamp and a value"
                ) from error
    moments = np.array(time, dtype=np.int64)
    windows = []
    for start, end in labels[name]:
        within = np.flatnonzero((moments >= seconds(start)) & (moments <= seconds(end)))
        if len(within) == 0:
            raise TelemetryError(f"{name} has no rows in its window from {start} to {end}")
        windows.append((int(within[0]), int(within[-1])))
    return Series(name, moments, np.array(values), windows)
