"""The benchmark's files, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.anomaly.nab.files import read
from models.anomaly.telemetry import TelemetryError

ROWS = ["2014-04-01 00:00:00,1.5", "2014-04-01 00:05:00,2.5", "2014-04-01 00:10:00,9"]


def corpus(folder: Path, rows: list[str], windows: list[list[str]]) -> Path:
    (folder / "data/group").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data/group/a.csv").write_text("\n".join(["timestamp,value", *rows]) + "\n")
    labels = {"group/a.csv": windows, "group/elsewhere.csv": []}
    (folder / "labels/combined_windows.json").write_text(json.dumps(labels))
    return folder


def test_a_file_and_its_windows(tmp_path: Path) -> None:
    window = ["2014-04-01 00:05:00.000000", "2014-04-01 00:10:00.000000"]
    (series,) = read(corpus(tmp_path, ROWS, [window]))
    assert series.name == "group/a.csv"
    assert series.values.tolist() == [1.5, 2.5, 9]
    assert np.diff(series.time).tolist() == [300, 300]
    assert series.windows == [(1, 2)]


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match=r"a\.csv, line 3: .*'high'"):
        read(corpus(tmp_path, [ROWS[0], "2014-04-01 00:05:00,high"], []))


def test_a_window_without_rows_is_named(tmp_path: Path) -> None:
    window = ["2015-01-01 00:00:00.000000", "2015-01-02 00:00:00.000000"]
    with pytest.raises(TelemetryError, match="no rows in its window from 2015-01-01"):
        read(corpus(tmp_path, ROWS, [window]))


def test_a_file_without_labels_is_named(tmp_path: Path) -> None:
    corpus(tmp_path, ROWS, [])
    (tmp_path / "data/group/b.csv").write_text("timestamp,value\n")
    with pytest.raises(TelemetryError, match=r"group/b\.csv is not in labels"):
        read(tmp_path)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="does not look like the Numenta"):
        read(tmp_path)
