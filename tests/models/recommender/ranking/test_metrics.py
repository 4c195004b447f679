"""Order and truth of probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.recommender.ranking.metrics import expected_calibration_error, measured


def test_metrics_of_a_few_rows() -> None:
    found = measured(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.8, 0.6, 0.5]))
    assert found["auroc"] == 0.75
    logs = -(math.log(0.9) + math.log(0.8) + math.log(0.4) + math.log(0.5)) / 4
    assert found["log_loss"] == pytest.approx(logs)
    assert found["calibration"] == pytest.approx(1.0)
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.5) / 4)


def test_one_class_has_no_order() -> None:
    found = measured(np.zeros(3), np.full(3, 0.2))
    assert math.isnan(found["auroc"])
    assert math.isnan(found["calibration"])
    assert found["log_loss"] == pytest.approx(-math.log(0.8))


def test_true_probabilities_are_calibrated_and_doubled_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 9, 50_000)
    label = (rng.random(50_000) < probability).astype(float)
    assert expected_calibration_error(label, probability) < 0.006
    assert measured(label, probability)["calibration"] == pytest.approx(1, abs=0.05)
    assert measured(label, 2 * probability.clip(0, 0.5))["calibration"] > 1.8
    assert expected_calibration_error(label, 2 * probability.clip(0, 0.5)) > 0.08
