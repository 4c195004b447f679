"""Bands of the score."""

import numpy as np
import pytest

from pipelines.anomalies.severity import SeverityScale

LEAST = {"info": 0.0, "warning": 3.5, "major": 5.0, "critical": 7.0}


def test_a_band_begins_at_its_least_score() -> None:
    scale = SeverityScale(LEAST)
    scores = np.array([0.1, 3.49, 3.5, 5.0, 6.9, 7.0, 1e9])
    expected = ["info", "info", "warning", "major", "major", "critical", "critical"]
    assert scale.of(scores) == expected


def test_bands_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        SeverityScale(LEAST | {"major": 3.0})
    with pytest.raises(ValueError, match="in this order"):
        SeverityScale({"warning": 1.0})
