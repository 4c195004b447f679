"""Verdicts as labels of telemetry: matched, put back where it is gone, or counted as lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from models.anomaly.retraining.judged import JudgedReader
from models.anomaly.retraining.splits import Newest, SplitAt, moment
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError
from pipelines.anomalies.labels import SCHEMA
from scripts.entrypoint import CONFIGS


@dataclass
class Given:
    telemetry: Telemetry

    def read(self) -> Telemetry:
        return self.telemetry


def telemetry() -> Telemetry:
    """Two sources, ten rows each, a minute apart."""
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    time = np.tile(np.arange(10) * 60, 2)
    return Telemetry.of(values, ("cpu", "memory"), time, ["a"] * 10 + ["b"] * 10)


def row(source: str, second: float, verdict: str, **fields: float | None) -> dict[str, Any]:
    return {
        "id": f"{source}{second}",
        "source": source,
        "timestamp": datetime.fromtimestamp(second, UTC),
        "verdict": verdict,
        "reason": None,
        "who": "ada",
        "judged_at": datetime.fromtimestamp(second + 9, UTC),
        "score": 4.0,
        "threshold": 3.0,
        "version": "1",
        "fields": [{"name": n, "value": v} for n, v in fields.items()],
    }


def table(folder: Path, *rows: dict[str, Any]) -> Path:
    day = folder / "labels" / "date=1970-01-01"
    day.mkdir(parents=True)
    pl.DataFrame(list(rows), schema=SCHEMA).write_parquet(day / "labels.parquet")
    return folder / "labels"


def test_verdicts_label_their_rows(tmp_path: Path) -> None:
    labels = table(tmp_path, row("a", 60.25, "confirmed"), row("b", 120, "dismissed"))
    reader = JudgedReader(Given(telemetry()), labels)
    found = reader.read()
    assert reader.counts == (2, 0, 0, 0)
    assert found.label[1] == ANOMALOUS
    assert found.label[12] == NORMAL
    assert (found.label == UNKNOWN).sum() == 18


def test_a_verdict_wins_over_the_readers_own_label(tmp_path: Path) -> None:
    given = telemetry()
    given.label[:] = ANOMALOUS
    reader = JudgedReader(Given(given), table(tmp_path, row("a", 0, "dismissed")))
    assert reader.read().label.tolist() == [NORMAL, *[ANOMALOUS] * 19]


def test_gone_telemetry_comes_back_as_the_stream_saw_it(tmp_path: Path) -> None:
    labels = table(
        tmp_path,
        row("a", 90, "confirmed", cpu=97.0, memory=None, disk=3.0),
        row("new", 30, "dismissed", cpu=1.0, memory=2.0),
    )
    reader = JudgedReader(Given(telemetry()), labels)
    found = reader.read()
    assert reader.counts == (0, 2, 0, 0)
    assert len(found) == 22
    assert found.sources == ("a", "b", "new")
    [back] = np.flatnonzero(found.label == ANOMALOUS)
    assert (found.time[back], found.values[back, 0]) == (90, 97.0)
    assert np.isnan(found.values[back, 1])


def test_a_verdict_on_nothing_known_is_counted_as_lost(tmp_path: Path) -> None:
    labels = table(tmp_path, row("a", 90, "confirmed", disk=3.0), row("b", 91, "confirmed"))
    reader = JudgedReader(Given(telemetry()), labels)
    assert len(reader.read()) == 20
    assert reader.counts == (0, 0, 2, 0)


def test_gone_telemetry_may_stay_gone(tmp_path: Path) -> None:
    labels = table(tmp_path, row("a", 90, "confirmed", cpu=97.0))
    reader = JudgedReader(Given(telemetry()), labels, restore=False)
    assert len(reader.read()) == 20
    assert reader.counts == (0, 0, 1, 0)


def test_without_verdicts_nothing_changes(tmp_path: Path) -> None:
    reader = JudgedReader(Given(telemetry()), tmp_path / "labels")
    assert (reader.read().label == UNKNOWN).all()


def test_the_cut_is_where_the_newest_share_begins() -> None:
    at = moment(telemetry(), 0.2)
    train, test = SplitAt(at)(telemetry())
    assert train.time.max() < at <= test.time.min()
    assert (len(train), len(test)) == (16, 4)


def test_an_event_from_long_ago_does_not_move_the_cut() -> None:
    given = telemetry()
    old = Telemetry.of(
        np.concatenate([given.values, np.ones((1, 2))]),
        given.fields,
        np.concatenate([given.time + 10**9, [0]]),
        [*"a" * 10, *"b" * 10, "gone"],
    )
    train, test = Newest(0.2)(old)
    assert (len(train), len(test)) == (15, 6)  # sources end together: a moment has two rows


def test_older_rows_may_be_left_out_and_labels_hidden() -> None:
    given = telemetry()
    given.label[:] = NORMAL
    train, _ = SplitAt(at=480, since=300, labels=False)(given)
    assert set(train.time) == {300, 360, 420}
    assert (train.label == UNKNOWN).all()


@pytest.mark.parametrize(("at", "since"), [(0, None), (10_000, None), (300, 300)])
def test_an_empty_part_is_named(at: int, since: int | None) -> None:
    with pytest.raises(TelemetryError, match="both are needed"):
        SplitAt(at, since)(telemetry())


def test_one_moment_cannot_be_cut() -> None:
    with pytest.raises(TelemetryError, match="nothing can be kept back"):
        moment(Telemetry.of(np.zeros((3, 1)), time=np.full(3, 7)), 0.2)


def test_of_several_rows_in_a_second_the_one_that_was_judged_is_labelled(tmp_path: Path) -> None:
    """Where nothing tells them apart, all of them are."""
    values = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    given = Telemetry.of(values, ("cpu", "memory"), np.array([60, 60, 60, 120]), ["a"] * 4)

    def read(**fields: float | None) -> list[int]:
        labels = table(tmp_path / str(fields), row("a", 60, "confirmed", **fields))
        return [int(x) for x in JudgedReader(Given(given), labels).read().label]

    assert read(cpu=3.0, memory=4.0) == [UNKNOWN, ANOMALOUS, UNKNOWN, UNKNOWN]
    assert read(cpu=3.0, memory=None) == [UNKNOWN, ANOMALOUS, UNKNOWN, UNKNOWN]
    assert read(cpu=9.0, memory=9.0) == [ANOMALOUS] * 3 + [UNKNOWN]
    assert read() == [ANOMALOUS] * 3 + [UNKNOWN]


def test_retraining_takes_no_word_of_a_log_for_a_verdict() -> None:
    """What a log of incidents does not name, nobody has judged to be normal."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("retrain", ["retrain=anomaly"])
    reader = cfg.data.reader.reader
    assert (reader.incidents, reader.others_normal) == ("auto", False)
