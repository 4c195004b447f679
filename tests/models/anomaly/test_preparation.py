"""Scaling, gaps and time, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from models.anomaly.preparation import Preparation, robust, standard
from models.anomaly.telemetry import Telemetry, TelemetryError


def fitted(values: np.ndarray, **settings: object) -> Preparation:
    preparation = Preparation(**settings)  # type: ignore[arg-type]
    preparation.fit(Telemetry.of(values, [f"f{i}" for i in range(values.shape[1])]))
    return preparation


def noise(rows: int = 500) -> np.ndarray:
    return np.random.default_rng(0).normal([50, 1e6], [10, 1e3], (rows, 2))


@pytest.mark.parametrize("scaling", [standard, robust])
def test_normal_noise_becomes_standard(scaling: object) -> None:
    values = noise()
    x = fitted(values, scaling=scaling, knee=1e3)(
        torch.from_numpy(values).float(), torch.zeros(500)
    ).x
    assert x.mean(0).abs().max() < 0.1
    assert (x.std(0) - 1).abs().max() < 0.1


def test_restore_is_the_inverse_far_out_too() -> None:
    preparation = fitted(noise())
    values = torch.tensor([[50.0, 1e6], [50_000.0, 9e5], [-1e4, 1.1e6]])
    x = preparation(values, torch.zeros(3)).x
    assert torch.allclose(preparation.restore(x), values, rtol=1e-3)
    assert x.abs().max() < 30


def test_a_gap_takes_the_median_and_is_said_where_training_had_gaps() -> None:
    values = noise()
    values[::10, 0] = np.nan
    preparation = fitted(values)
    prepared = preparation(torch.tensor([[torch.nan, torch.nan]]), torch.zeros(1))
    assert preparation.restore(prepared.x)[0].tolist() == pytest.approx(
        np.nanmedian(values, axis=0), rel=1e-3
    )
    assert prepared.present.tolist() == [[0, 0]]
    assert prepared.context.tolist() == [[1]]  # of the first field only


def test_one_step_of_a_constant_field_is_one() -> None:
    preparation = fitted(np.full((30, 1), 1234.567), knee=1e3)
    x = preparation(torch.tensor([[1234.567], [1235.567]]), torch.zeros(2)).x
    assert x[:, 0].tolist() == pytest.approx([0.0, 1.0], abs=1e-3)


def test_hour_and_weekday_are_points_on_circles() -> None:
    preparation = fitted(noise(), time_features=True)
    moments = [datetime(2026, 1, 5, h, tzinfo=UTC) for h in (0, 6)]  # a Monday
    time = torch.tensor([int(m.timestamp()) for m in moments])
    context = preparation(torch.zeros(2, 2), time).context
    midnight, six = context.tolist()
    assert midnight == pytest.approx([0, 1, 0, 1], abs=1e-5)
    assert six[:2] == pytest.approx([1, 0], abs=1e-5)


def test_a_field_without_values_is_named() -> None:
    values = noise()
    values[:, 1] = np.nan
    with pytest.raises(TelemetryError, match="'f1' has no value in any of 500 rows"):
        fitted(values)
