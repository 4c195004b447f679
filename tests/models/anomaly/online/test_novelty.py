"""Novelty in streams whose news are known, and the reporting of episodes."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly.online.episodes import first_alarms
from models.anomaly.online.novelty import Novelty, Scale

SCALES = (Scale(1, 1, neighbours=3), Scale(6, 4, deviation=True), Scale(12, 6))


def detector(**settings: float) -> Novelty:
    return Novelty(SCALES, **{"settle": 100, **settings})  # type: ignore[arg-type]


def wave(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    noise = np.random.default_rng(seed).normal(scale=0.05, size=n)
    signal: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sin(np.arange(n) / 8) + noise
    return signal


def test_however_a_stream_is_cut_its_scores_are_the_same() -> None:
    values = wave(1_500)
    whole = detector().score(values)
    parts = detector()
    cut = np.concatenate([parts.score(p) for p in np.split(values, [1, 2, 3, 300, 301, 1_200])])
    np.testing.assert_allclose(whole, cut, rtol=1e-6, atol=1e-9)


def test_a_score_knows_nothing_of_what_comes() -> None:
    values, other = wave(1_000), wave(1_000)
    other[700:] = 40
    np.testing.assert_allclose(detector().score(values)[:700], detector().score(other)[:700])


@pytest.mark.parametrize(
    "news",
    [
        lambda v: v[800:801] + 4,  # a spike
        lambda v: v[800:860] + 3,  # a shift
        lambda v: np.full(60, v[800]),  # a signal that stands still
        lambda v: v[800:860] + np.random.default_rng(1).normal(size=60),  # noise
    ],
)
def test_news_of_any_kind_stand_out(news: object) -> None:
    values = wave(1_200)
    fresh = news(values)  # type: ignore[operator]
    values[800 : 800 + len(fresh)] = fresh
    score = detector().score(values)
    assert score[800:870].max() > 1.5 * score[400:800].max()


def test_a_shift_that_stays_is_news_no_longer() -> None:
    values = wave(3_000)
    values[1_000:] += 10
    score = detector().score(values)
    assert score[1_000:1_080].max() > 1
    assert score[1_200:].max() < 0.5


def test_a_constant_signal_scores_nothing() -> None:
    assert detector().score(np.full(1_000, 7.0)).max() == 0


def test_a_change_below_the_floor_is_small_even_after_constancy() -> None:
    values = np.full(1_000, 50.0)
    values[100:200] = 90.0  # the range it may have
    values[800] = 50.01
    assert detector(floor=1e-2).score(values)[700:].max() < 0.1


def test_missing_values_are_passed_over() -> None:
    values = wave(900)
    holed = np.insert(values, [10, 500, 500], np.nan)
    score = detector().score(holed)
    np.testing.assert_array_equal(np.isnan(score), np.isnan(holed))
    np.testing.assert_allclose(score[~np.isnan(score)], detector().score(values), rtol=1e-6)


def test_what_lies_beyond_the_memory_is_new_again() -> None:
    values = wave(2_000)
    values[[400, 1_900]] = 6
    far = Novelty([Scale(1, 1)], settle=100, memory=1_000).score(values)
    near = Novelty([Scale(1, 1)], settle=100, memory=5_000).score(values)
    assert near[1_900] < 0.1 < 0.9 < far[1_900]


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        Novelty([])
    with pytest.raises(ValueError, match="fade"):
        Novelty(SCALES, fade=1.5)


@pytest.mark.parametrize(
    ("above", "quiet", "reported"),
    [
        ([0, 0, 0], 2, []),
        ([1, 1, 1, 1, 1], 2, [0, 3]),
        ([1, 0, 1, 1], 0, [0, 2, 3]),
        ([0, 1, 0, 0, 1], 3, [1]),
    ],
)
def test_an_episode_is_reported_once(above: list[int], quiet: int, reported: list[int]) -> None:
    assert first_alarms(np.array(above, dtype=bool), quiet).tolist() == reported
