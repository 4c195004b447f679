"""A small benchmark with planted anomalies, from series to score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from models.anomaly.nab.files import Series, read
from models.anomaly.nab.floors import Null, Random, WindowedGaussian
from models.anomaly.nab.run import best_with_labels, judge, settling, thresholds
from models.anomaly.nab.scoring import Profile, corpus_score, probation, read_profiles
from models.anomaly.online.novelty import Novelty
from models.anomaly.thresholds.spot import Spot
from models.anomaly.thresholds.threshold import ThresholdError

CONFIG = Path(__file__).parents[4] / "configs/benchmark/nab.yaml"
STANDARD = Profile(1.0, 1.0, 0.11)
SPOT: Callable[[], Spot] = partial(Spot, risk=0.01, level=0.9, adapt_after_s=None)


def series(name: str, values: NDArray[np.floating], windows: list[tuple[int, int]]) -> Series:
    return Series(name, 300 * np.arange(len(values)), values.astype(float), windows)


def planted() -> Series:
    noise = np.random.default_rng(0).normal(scale=0.05, size=2_000)
    values = np.sin(np.arange(2_000) / 8) + noise
    values[1_200:1_230] += 12
    return series("planted", values, [(1_190, 1_290)])


def configured() -> tuple[Callable[..., Novelty], Callable[[], Spot], float, int]:
    cfg = OmegaConf.load(CONFIG)
    return (
        hydra.utils.instantiate(cfg.detector),
        hydra.utils.instantiate(cfg.threshold),
        cfg.settle,
        cfg.quiet,
    )


def test_an_anomaly_is_found_by_the_detector_as_configured() -> None:
    detector, threshold, share, quiet = configured()
    one = planted()
    settle = settling(len(one.values), share)
    found = judge(one, detector(settle=settle).score(one.values), settle, threshold, quiet)
    value, parts = corpus_score(
        {"planted": 2_000}, {"planted": one.windows}, {"planted": found.alarms}, STANDARD
    )
    assert value > 80
    assert parts.caught == 1


def test_nothing_is_judged_in_the_unscored_beginning() -> None:
    one = planted()
    found = judge(one, np.random.default_rng(1).uniform(size=2_000), 50, SPOT, 10)
    assert np.isinf(found.threshold[: probation(2_000)]).all()
    assert (found.alarms >= probation(2_000)).all()


def test_no_threshold_knows_the_future() -> None:
    one, score = planted(), np.random.default_rng(2).exponential(size=2_000)
    other = score.copy()
    other[1_500:] = 99
    here, there = (thresholds(one, s, 50, SPOT) for s in (score, other))
    np.testing.assert_array_equal(here[:1_501], there[:1_501])
    assert (here[1_501:] != there[1_501:]).any()


def test_a_file_too_short_to_calibrate_on_is_refused() -> None:
    short = series("short", np.arange(100.0), [])
    with pytest.raises(ThresholdError, match="14 scores"):
        judge(short, np.arange(100.0), 0, SPOT, 10)


def test_with_labels_the_best_threshold_is_no_worse_than_any() -> None:
    one = planted()
    score = WindowedGaussian().score(one.values)
    best, level, parts = best_with_labels([one], {"planted": score}, STANDARD, 100)
    assert best > 80
    assert score[1_000:1_199].max() < level < score.max()
    assert parts.caught == 1
    null, _, _ = best_with_labels([one], {"planted": Null().score(one.values)}, STANDARD, 100)
    assert null <= 0


def test_floors_are_repeatable() -> None:
    values = np.random.default_rng(3).normal(size=500)
    np.testing.assert_array_equal(Random(1).score(values), Random(1).score(values))
    later = values.copy()
    later[400:] += 5
    np.testing.assert_array_equal(
        WindowedGaussian().score(values)[:400], WindowedGaussian().score(later)[:400]
    )


@pytest.mark.realdata
@pytest.mark.slow
def test_the_score_on_the_benchmarks_files_reaches_65() -> None:
    folder = Path(__file__).parents[5] / "shared/data/nab"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    detector, threshold, share, quiet = configured()
    corpus, alarms = read(folder), {}
    for one in corpus:
        settle = settling(len(one.values), share)
        score = detector(settle=settle).score(one.values)
        alarms[one.name] = judge(one, score, settle, threshold, quiet).alarms
    value, _ = corpus_score(
        {s.name: len(s.values) for s in corpus},
        {s.name: s.windows for s in corpus},
        alarms,
        read_profiles(folder / "config/profiles.json")["standard"],
    )
    assert value >= 65
