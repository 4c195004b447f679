"""Rows by source and time, and their windows."""

import numpy as np
import pytest

from models.anomaly.telemetry import Telemetry, TelemetryError


def test_rows_are_sorted_by_source_and_time() -> None:
    values = np.array([[1.0], [2.0], [3.0]])
    telemetry = Telemetry.of(values, ["cpu"], np.array([30, 10, 20]), ["b", "a", "b"])
    assert telemetry.sources == ("a", "b")
    assert telemetry.values[:, 0].tolist() == [2.0, 3.0, 1.0]


def test_a_window_never_reaches_into_another_source() -> None:
    values = np.arange(5.0)[:, None]
    telemetry = Telemetry.of(values, source=["a", "a", "b", "b", "b"])
    windows = telemetry.windows(2)[..., 0]
    assert np.isnan(windows[[0, 2], 0]).all()
    assert windows[[1, 3, 4]].tolist() == [[0, 1], [2, 3], [3, 4]]
    assert windows[:, -1].tolist() == values[:, 0].tolist()


def test_an_infinite_value_is_named() -> None:
    with pytest.raises(TelemetryError, match=r"row 1, field 'load' is infinite"):
        Telemetry.of(np.array([[1.0], [np.inf]]), ["load"])


def test_no_rows_are_refused() -> None:
    with pytest.raises(TelemetryError, match="at least one"):
        Telemetry.of(np.empty((0, 3)))
