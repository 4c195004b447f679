"""Telemetry from tables, the warehouse and ADBench's files, good rows and bad."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.anomaly.readers.adbench import ADBenchReader
from models.anomaly.readers.table import TableReader
from models.anomaly.readers.warehouse import WarehouseReader
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, TelemetryError
from models.recommender.interactions import DataError
from models.recommender.readers.files import MissingInputError

HEADER = "timestamp,host,cpu,memory,broken\n"


def table(folder: Path, content: str, **settings: object) -> TableReader:
    path = folder / "t.csv"
    path.write_text(content)
    return TableReader(path, folder / "rejects.csv", **settings)  # type: ignore[arg-type]


def test_a_table_by_its_columns(tmp_path: Path) -> None:
    content = HEADER + (
        "2026-01-01T00:01:00Z,b,2,20,yes\n2026-01-01T00:00:00Z,b,1,,0\n"
        "2026-01-01T02:00:00+01:00,a,3,nan,\n"
    )
    telemetry = table(
        tmp_path, content, source="host", label="broken",
        labels={"normal": ["0"], "anomalous": ["yes"]},
    ).read()  # fmt: skip
    assert telemetry.fields == ("cpu", "memory")
    assert telemetry.sources == ("a", "b")
    assert telemetry.values[:, 0].tolist() == [3, 1, 2]
    assert np.isnan(telemetry.values[:2, 1]).all()
    assert telemetry.label.tolist() == [UNKNOWN, NORMAL, ANOMALOUS]
    assert telemetry.time[0] == datetime(2026, 1, 1, 1, tzinfo=UTC).timestamp()


def test_without_time_and_source_rows_stay_in_order(tmp_path: Path) -> None:
    telemetry = table(tmp_path, "a,b\n3,1\n2,1\n", time=None).read()
    assert telemetry.values[:, 0].tolist() == [3, 2]
    assert telemetry.time.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("source", r"cannot be called 'source'; say what it is with data\.reader\.source=source"),
        ("label", r"say what it is with data\.reader\.label=label"),
        ("text", r"cannot be called 'text'; rename the column, or name the columns"),
    ],
)
def test_a_field_with_a_name_of_ours_is_refused(tmp_path: Path, column: str, says: str) -> None:
    with pytest.raises(TelemetryError, match=says):
        table(tmp_path, f"timestamp,{column},cpu\n2026-01-01T00:00:00Z,1,2\n").read()


def test_bad_rows_are_set_aside_with_line_and_reason(tmp_path: Path) -> None:
    good = [f"2026-01-01T00:{m:02d}:00Z,a,1,2,0" for m in range(60)]
    bad = {
        "2026-01-01T01:00:00Z,a,high,2,0": "field 'cpu' is not a number",
        "2026-01-01T01:00:00Z,a,1,inf,0": "field 'memory' is infinite",
        "2026-01-01T01:00:00Z,a,1,1e60,0": "field 'memory' is infinite",
        "yesterday,a,1,2,0": "bad time (expected ISO 8601)",
        "2026-01-01T01:00:00Z,,1,2,0": "empty source",
        "2026-01-01T01:00:00Z,a,1,2,perhaps": "label is none of ['0', '1', 'false', 'true']",
    }
    reader = table(
        tmp_path, HEADER + "\n".join([*good, *bad]), source="host", label="broken",
        max_reject_share=0.2,
    )  # fmt: skip
    assert len(reader.read()) == 60
    listed = pl.read_csv(tmp_path / "rejects.csv")
    assert listed["line"].to_list() == list(range(62, 68))
    assert listed["reason"].to_list() == list(bad.values())
    reader.max_reject_share = 0.01
    with pytest.raises(DataError, match="6 of 66 rows rejected"):
        reader.read()


def test_numbers_as_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"load": ["87", " 5.5 ", ""], "t": [1, 2, 3]}).write_parquet(path)
    telemetry = TableReader(path, tmp_path / "r.csv", time="t", time_unit="s").read()
    assert telemetry.values[:2, 0].tolist() == [87, 5.5]
    assert np.isnan(telemetry.values[2, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time": "when"}, r"no column 'when' \(data.reader.time\); it has"),
        ({"source": "machine"}, r"no column 'machine' \(data.reader.source\)"),
        ({"fields": ["cpu", "disk"]}, "no column 'disk'; it has"),
        ({"time_unit": "h"}, "time_unit is 'h'; s, ms, us, iso are accepted"),
    ],
)
def test_a_wrong_column_is_named(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(TelemetryError, match=message):
        table(tmp_path, HEADER + "2026-01-01,a,1,2,0\n", **settings).read()


def warehouse(folder: Path) -> Path:
    at = [datetime(2026, 1, 1, 0, m, tzinfo=UTC) for m in range(4)]
    rows = pl.DataFrame(
        {"source": ["a", "b"] * 4, "cpu": range(8), "timestamp": [t for t in at for _ in "ab"]}
    )
    (folder / "telemetry" / "date=2026-01-01").mkdir(parents=True)
    rows.write_parquet(folder / "telemetry" / "date=2026-01-01" / "part.parquet")
    (folder / "incidents").mkdir()
    pl.DataFrame(
        {"source": ["b", "z"], "kind": ["spike"] * 2, "start": [at[1]] * 2, "end": [at[3]] * 2}
    ).write_parquet(folder / "incidents" / "part.parquet")
    return folder


def test_the_warehouse_and_its_incidents(tmp_path: Path) -> None:
    folder = warehouse(tmp_path)
    plain = WarehouseReader(folder, tmp_path / "r.csv").read()
    assert plain.fields == ("cpu",)
    assert set(plain.label) == {UNKNOWN}
    told = WarehouseReader(folder, tmp_path / "r.csv", incidents=folder / "incidents").read()
    assert told.values[:, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert told.label.tolist() == [NORMAL] * 5 + [ANOMALOUS] * 2 + [NORMAL]


def test_the_warehouses_own_log_of_incidents_is_found_where_there_is_one(tmp_path: Path) -> None:
    folder = warehouse(tmp_path)
    told = WarehouseReader(folder, tmp_path / "r.csv", incidents="auto").read()
    assert (told.label == ANOMALOUS).sum() == 2
    unsure = WarehouseReader(folder, tmp_path / "r.csv", "auto", others_normal=False).read()
    assert sorted(unsure.label) == [UNKNOWN] * 6 + [ANOMALOUS] * 2
    (folder / "incidents" / "part.parquet").unlink()
    assert set(WarehouseReader(folder, tmp_path / "r.csv", "auto").read().label) == {UNKNOWN}


def test_what_a_stream_landed_beside_is_read_with_it_and_counts_once(tmp_path: Path) -> None:
    """Other files may have other columns and types, and rows that are there already."""
    folder = warehouse(tmp_path)
    at = [datetime(2026, 1, 1, 0, m, tzinfo=UTC) for m in (0, 9)]
    pl.DataFrame({"source": ["a"] * 2, "timestamp": at, "disk": [0.5] * 2}).write_parquet(
        folder / "telemetry" / "date=2026-01-01" / "p001-000000000001-000000000002.parquet"
    )
    read = WarehouseReader(folder, tmp_path / "r.csv").read()
    assert read.fields == ("disk", "cpu")
    assert len(read) == 9
    np.testing.assert_array_equal(read.values[[0, 4]], [[np.nan, 0], [0.5, np.nan]])


def test_an_empty_warehouse_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no telemetry; .*simulate\.py"):
        WarehouseReader(tmp_path, tmp_path / "r.csv").read()
    with pytest.raises(MissingInputError, match="no Parquet files of incidents"):
        WarehouseReader(warehouse(tmp_path), tmp_path / "r.csv", tmp_path / "none").read()


def test_adbench_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=np.eye(3), y=np.array([0, 1, 0]))
    telemetry = ADBenchReader(tmp_path).read()
    assert telemetry.fields == ("x0", "x1", "x2")
    assert telemetry.label.tolist() == [0, 1, 0]
    np.savez(tmp_path / "x.npz", X=np.eye(3), y=np.array([0, 2, 0]))
    with pytest.raises(TelemetryError, match="label 2; 0 and 1 are accepted"):
        ADBenchReader(tmp_path).read()
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(TelemetryError, match="not an ADBench file"):
        ADBenchReader(tmp_path).read()
