"""Comparing two artifacts: verdicts where there are enough, else the holdout and planted rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.anomaly.retraining.comparer import AnomalyComparer
from models.anomaly.retraining.judged import JudgedReader
from models.anomaly.retraining.planting import Planting, spike, swap
from models.anomaly.retraining.scoring import windows_at
from models.anomaly.telemetry import ANOMALOUS, DOUBTED, NORMAL, UNKNOWN, Telemetry, TelemetryError
from models.artifact import Artifact
from tests.models.anomaly.retraining.artifacts import put
from tests.models.anomaly.retraining.test_judged import Given

FIELDS = ("cpu", "memory")
PLANTING = Planting({"spike": partial(spike, least=5.0, most=9.0), "swap": swap}, most=100)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    root = tmp_path_factory.mktemp("artifacts")
    return {
        "good": put(root, "1", FIELDS, [0.0, 10.0]),
        # Another order of the fields, and a centre where nothing is.
        "bad": put(root, "2", ("memory", "cpu"), [0.0, 0.0]),
        "long": put(root, "3", FIELDS, [0.0, 10.0], window=4),
        "other": put(root, "4", ("cpu", "disk"), [0.0, 0.0]),
    }


def given(judged: int) -> Telemetry:
    """A source around (0, 10); of the last rows `judged` were confirmed, as many dismissed."""
    rng = np.random.default_rng(0)
    values = rng.normal((0.0, 10.0), 1.0, (600, 2))
    label = np.full(600, UNKNOWN)
    if judged:
        values[-judged:] += 8
        label[-judged:] = ANOMALOUS
        label[-2 * judged : -judged] = NORMAL
    return Telemetry.of(values, FIELDS, np.arange(600) * 60, label=label)


def comparer(judged: int) -> AnomalyComparer:
    reader = JudgedReader(Given(given(judged)), Path("/absent"))
    made = AnomalyComparer(reader, PLANTING, least_verdicts=10, resamples=20)
    made.keep_back()
    return made


def test_training_is_kept_off_what_is_compared_on() -> None:
    made = comparer(0)
    made.recent_days = 0.1
    at, since = made.keep_back()
    assert at == f"data.split.at={480 * 60}"
    assert since == f"data.split.since={480 * 60 - 8640}"


def test_enough_verdicts_are_measured(artifacts: dict[str, Artifact]) -> None:
    found = comparer(12).compare(artifacts["bad"], artifacts["good"])
    taken = {m.name: m for m in found.measures}
    assert {"verdict_average_precision", "verdict_auroc", "confirmed_recall"} <= set(taken)
    assert taken["verdict_auroc"].challenger == 1.0
    assert taken["planted_auroc"].gain > 0
    assert taken["false_alarm_rate"].champion > 0.9  # everything is far from its centre
    assert taken["false_alarm_rate"].gain > 0
    assert found.data["recent_confirmed"] == found.data["recent_dismissed"] == 12
    assert len(found.figures) == 5
    assert all(f.source.startswith("data:image/svg+xml") for f in found.figures)


@pytest.mark.parametrize("judged", [0, 9])
def test_too_few_verdicts_leave_it_to_the_holdout_and_say_so(
    artifacts: dict[str, Artifact], judged: int
) -> None:
    found = comparer(judged).compare(artifacts["bad"], artifacts["good"])
    assert not [m for m in found.measures if m.name.startswith(("verdict", "confirmed"))]
    assert f"Only {judged} confirmed and {judged} dismissed" in found.notes[0]
    assert "the holdout alone decides" in found.notes[0]


def test_windows_of_different_lengths_are_compared(artifacts: dict[str, Artifact]) -> None:
    found = comparer(0).compare(artifacts["long"], artifacts["good"])
    assert all(m.gain == pytest.approx(0.0, abs=1e-6) for m in found.measures)


def test_false_alarms_come_with_their_sampling_error(artifacts: dict[str, Artifact]) -> None:
    found = comparer(12).compare(artifacts["bad"], artifacts["good"])
    taken = {m.name: m for m in found.measures}
    for name in ("false_alarm_rate", "planted_recall", "confirmed_recall"):
        assert taken[name].error is not None
    # 108 rows that nobody confirmed are of two hours only: those of an hour count together.
    alone = comparer(12)
    alone.together_s = 1
    by_row = {m.name: m for m in alone.compare(artifacts["bad"], artifacts["good"]).measures}
    assert by_row["false_alarm_rate"].error != taken["false_alarm_rate"].error


def test_alarms_that_nobody_judged_are_no_verdicts(artifacts: dict[str, Artifact]) -> None:
    made = comparer(12)
    made.reader.reader.telemetry.label[:100] = DOUBTED  # type: ignore[attr-defined]
    made.reader.reader.telemetry.label[500:530] = DOUBTED  # type: ignore[attr-defined]
    found = made.compare(artifacts["bad"], artifacts["good"])
    assert found.data["recent_confirmed"] == found.data["recent_dismissed"] == 12
    assert found.data["holdout_rows"] == 108, "they count there as before: nobody confirmed them"
    assert found.data["doubted_rows"] == 100
    assert "100 rows before the holdout alarmed" in found.notes[-1]


def test_a_field_that_the_telemetry_lacks_is_named(artifacts: dict[str, Artifact]) -> None:
    with pytest.raises(TelemetryError, match=r"reads field 'disk'.*\['cpu', 'memory'\]"):
        comparer(0).compare(artifacts["other"], artifacts["good"])


def test_windows_of_some_rows_are_those_of_all() -> None:
    telemetry = Telemetry.of(
        np.arange(20.0).reshape(10, 2), source=["a"] * 6 + ["b"] * 4, time=np.arange(10)
    )
    rows = np.array([0, 3, 6, 9])
    np.testing.assert_array_equal(windows_at(telemetry, 3, rows), telemetry.windows(3)[rows])


def test_what_is_planted_is_odd_and_the_rest_stays() -> None:
    windows = given(0).windows(4)[10:]
    planted, origin, kinds = PLANTING(windows)
    assert planted.shape == (100, 4, 2)
    assert kinds == ["spike"] * 50 + ["swap"] * 50
    np.testing.assert_array_equal(planted[:, :-1], windows[origin][:, :-1])
    moved = planted[:50, -1] != windows[origin][:50, -1]
    assert (moved.sum(axis=1) == 1).all()
    assert (PLANTING(windows)[0] == planted).all()  # the same for champion and challenger


def test_constant_fields_can_be_planted_into() -> None:
    planted, _, _ = PLANTING(np.ones((30, 1, 2), np.float32))
    assert np.isfinite(planted).all()
