"""The floor under alarms."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly.thresholds.minimum_change import MinimumChange
from models.anomaly.thresholds.threshold import ThresholdError

FIELDS = ("cpu", "memory")
NAN = np.nan


@pytest.mark.parametrize(
    ("values", "expected", "moved"),
    [
        ([51, 1000], [50, 1000], False),  # one unit of a constant signal
        ([52, 1000], [50, 1000], False),  # as much as the minimum is not more than it
        ([52.5, 1000], [50, 1000], True),
        ([47, 1000], [50, 1000], True),  # downwards too
        ([50, 1090], [50, 1000], False),  # within 10 %
        ([50, 1110], [50, 1000], True),
        ([NAN, 1000], [50, 1000], False),  # of a field with a floor a missing value is no movement
        ([NAN, NAN], [50, 1000], True),  # nothing left: not to be called quiet
    ],
)
def test_an_event_moved_if_one_of_its_fields_did(
    values: list[float], expected: list[float], moved: bool
) -> None:
    floor = MinimumChange(FIELDS, absolute={"cpu": 2}, relative={"memory": 0.1})
    assert floor.moved(np.array([values]), np.array([expected])).tolist() == [moved]


def test_both_minima_must_be_exceeded() -> None:
    floor = MinimumChange(["cpu"], absolute={"cpu": 2}, relative={"cpu": 0.5})
    values, expected = np.array([[13.0], [16.0], [3.5]]), np.array([[10.0], [10.0], [2.0]])
    assert floor.moved(values, expected).tolist() == [False, True, False]


def test_a_field_without_a_minimum_always_counts_as_moved() -> None:
    values = np.array([[50.0, 7.0]], dtype=np.float32)
    assert MinimumChange(FIELDS, absolute={"cpu": 2}).moved(values, values).all()
    assert MinimumChange(FIELDS).moved(values, values).all()
    assert not MinimumChange(FIELDS, absolute={"default": 1}).moved(values, values).any()


@pytest.mark.parametrize(
    ("absolute", "message"),
    [
        ({"cpus": 1}, "'cpus', but the fields are"),
        ({"cpu": -1}, "from 0, not -1"),
        ({"cpu": NAN}, "from 0, not nan"),
    ],
)
def test_wrong_minima_are_named(absolute: dict[str, float], message: str) -> None:
    with pytest.raises(ThresholdError, match=message):
        MinimumChange(FIELDS, absolute=absolute)
