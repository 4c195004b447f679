"""What trains and what tests."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly.splits import NormalHalf, TimeSplit
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError

LABEL = np.r_[np.full(90, NORMAL), np.full(10, ANOMALOUS)]
TELEMETRY = Telemetry.of(
    np.arange(100.0)[:, None], source=["a", "b"] * 50, time=np.arange(100), label=LABEL
)


def test_every_source_is_cut_at_one_moment() -> None:
    train, test = TimeSplit(0.7)(TELEMETRY)
    assert train.time.max() < test.time.min()
    assert len(train) == 70
    assert set(train.label) == {UNKNOWN}
    assert set(TimeSplit(0.95, labels=True)(TELEMETRY).train.label) == {NORMAL, ANOMALOUS}


def test_one_moment_cannot_be_cut() -> None:
    with pytest.raises(TelemetryError, match="nothing is left to test on"):
        TimeSplit()(Telemetry.of(np.ones((5, 1)), time=np.ones(5, int)))


def test_half_of_the_normals_trains() -> None:
    train, test = NormalHalf(seed=1)(TELEMETRY)
    assert len(train) == 45
    assert (test.label == ANOMALOUS).sum() == 10
    assert not set(train.values[:, 0]) & set(test.values[:, 0])
    assert set(train.values[:, 0]) != set(NormalHalf(seed=2)(TELEMETRY).train.values[:, 0])
    capped, rest = NormalHalf(seed=1, train_rows=20)(TELEMETRY)
    assert (len(capped), len(rest)) == (20, 55)


def test_with_labels_half_of_the_anomalies_trains_too() -> None:
    train, test = NormalHalf(labels=True)(TELEMETRY)
    assert [(part.label == ANOMALOUS).sum() for part in (train, test)] == [5, 5]


def test_one_normal_row_has_no_halves() -> None:
    with pytest.raises(TelemetryError, match="1 normal rows"):
        NormalHalf()(TELEMETRY.take(np.isin(TELEMETRY.values[:, 0], [0, 95])))
