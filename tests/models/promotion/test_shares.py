"""Shares of the same rows: what is chance in their difference, alone and within groups."""

from __future__ import annotations

import numpy as np
import pytest

from models.promotion.shares import share, standard_error


def test_only_rows_on_which_they_differ_make_an_error() -> None:
    champion = np.repeat([True, False], [10, 990])
    same = share("alarms", "lower", champion, champion)
    assert (same.champion, same.challenger, same.gain, same.error) == (0.01, 0.01, 0.0, 0.0)
    challenger = champion.copy()
    challenger[10:14] = True
    found = share("alarms", "lower", champion, challenger)
    assert found.gain == pytest.approx(-0.004)
    # sqrt(4 - 4²/1000) / 1000, as McNemar has it
    assert found.error == pytest.approx(0.001997, rel=2e-3)
    assert (found.low, found.high) == pytest.approx((8.6e-5, 0.007914), rel=1e-2)


def test_the_error_is_what_resampling_finds() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.random(2000) < 0.02, rng.random(2000) < 0.025
    error = share("alarms", "lower", old, new).error
    draws = rng.integers(2000, size=(2000, 2000))
    resampled = (new[draws].mean(axis=1) - old[draws].mean(axis=1)).std()
    assert error == pytest.approx(resampled, rel=0.08)


def test_alarms_of_one_incident_count_together() -> None:
    champion = np.zeros(1000, bool)
    challenger = champion.copy()
    challenger[:20] = True
    groups = np.arange(1000) // 20
    alone, together = (
        share("alarms", "lower", champion, challenger, g).error for g in (None, groups)
    )
    assert alone is not None
    assert together is not None
    assert together > 4 * alone


@pytest.mark.parametrize("groups", [None, np.zeros(1, int)])
def test_one_row_says_nothing_of_others(groups: np.ndarray | None) -> None:
    assert standard_error(np.ones(1), groups) == 0.0
