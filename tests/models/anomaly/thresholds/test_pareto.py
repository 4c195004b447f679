"""The tail's fit against tails that are known."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly.thresholds import pareto


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2, 0.5])
def test_shape_scale_and_quantile_are_found(shape: float) -> None:
    u = np.random.default_rng(0).uniform(size=(300, 400))
    peaks = 3 * (-np.log(u) if shape == 0 else (u**-shape - 1) / shape)
    shapes, scales = pareto.fit(peaks, np.full(300, 400))
    assert np.median(shapes) == pytest.approx(shape, abs=0.04)
    assert np.median(scales) == pytest.approx(3, rel=0.05)
    exact = 3 * (-np.log(1e-3) if shape == 0 else (1e-3**-shape - 1) / shape)
    found = pareto.quantile(shapes, scales, np.full(300, 1e-3))
    assert np.median(found) == pytest.approx(exact, rel=0.1)


def test_only_the_first_peaks_of_a_row_are_read() -> None:
    rng = np.random.default_rng(1)
    peaks = rng.exponential(size=(2, 100))
    alone = pareto.fit(peaks[:1, :40], np.array([40]))
    padded = pareto.fit(np.where(np.arange(100) < 40, peaks, 1e6), np.array([40, 40]))
    assert [a[0] for a in padded] == pytest.approx([a[0] for a in alone], rel=1e-9)


@pytest.mark.parametrize(
    ("peaks", "count", "scale"),
    [
        ([0.0, 0.0, 0.0], 3, 0.0),  # a constant signal
        ([2.0, 0.0, 0.0], 1, 2.0),  # one peak tells a mean and no more
        ([0.0, 0.0, 0.0], 0, 0.0),
    ],
)
def test_peaks_that_tell_little_give_an_exponential_tail(
    peaks: list[float], count: int, scale: float
) -> None:
    shapes, scales = pareto.fit(np.array([peaks]), np.array([count]))
    assert (shapes[0], scales[0]) == (0.0, scale)


@pytest.mark.parametrize(
    "peaks", [[1.0, 1.0, 1.0, 1.0], [1e-12, 1e-12, 1.0, 1.0], [1.0, 1e9, 0, 0]]
)
def test_odd_peaks_still_give_finite_numbers(peaks: list[float]) -> None:
    shapes, scales = pareto.fit(np.array([peaks]), np.array([4]))
    level = pareto.quantile(shapes, scales, np.array([1e-4]))
    assert np.isfinite([shapes[0], scales[0], level[0]]).all()
    assert level[0] >= 0


def test_a_share_above_one_is_the_threshold_of_the_peaks_itself() -> None:
    """Where peaks are rarer than the risk, all of them may alarm."""
    assert pareto.quantile(np.array([0.2]), np.array([1.0]), np.array([3.0]))[0] == 0
