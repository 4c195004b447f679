"""The scoring rule on cases small enough to do by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from models.anomaly.nab.scoring import (
    Profile,
    Score,
    corpus_score,
    normalised,
    probation,
    read_profiles,
    score,
    sigmoid,
    total,
    weights,
)

STANDARD = Profile(1.0, 1.0, 0.11)
LOW_FP = Profile(1.0, 1.0, 0.22)
LOW_FN = Profile(1.0, 2.0, 0.11)
NONE = np.array([], dtype=int)


def s(position: float) -> float:
    """2 / (1 + e^5y) − 1, in plain Python."""
    return 2 / (1 + math.exp(5 * position)) - 1


@pytest.mark.parametrize(
    ("position", "weight"),
    [(-1, 0.98661), (-0.5, 0.84828), (0, 0), (0.5, -0.84828), (1, -0.98661), (3.01, -1)],
)
def test_the_sigmoid_of_the_paper(position: float, weight: float) -> None:
    assert float(sigmoid(np.array(position))) == pytest.approx(weight, abs=1e-5)


def test_a_window_of_four_rows() -> None:
    """Rows 10–13: positions −1, −3/4, −1/2, −1/4, in units of the first row's weight."""
    weight, inside = weights(30, [(10, 13)])
    assert weight[10:14] == pytest.approx([s(p) / s(-1) for p in (-1, -0.75, -0.5, -0.25)])
    assert weight[10] == 1
    # behind it: distance to its last row over its width less one, 3
    assert weight[14:17] == pytest.approx([s(1 / 3), s(2 / 3), s(1)])
    assert weight[22] == pytest.approx(s(3))  # nine rows on: three widths
    assert (weight[23:] == -1).all()
    assert (weight[:10] == -1).all()  # before any window: as if far away
    assert inside.tolist() == [-1] * 10 + [0] * 4 + [-1] * 16


def test_between_windows_the_one_before_counts() -> None:
    weight, inside = weights(40, [(5, 8), (10, 13)])
    assert weight[9] == pytest.approx(s(1 / 3))
    assert weight[14] == pytest.approx(s(1 / 3))
    assert set(inside) == {-1, 0, 1}


@pytest.mark.parametrize(
    ("alarms", "raw"),
    [
        ([], -1.0),  # missed
        ([40], 1.0),  # at once
        ([40, 41, 43], 1.0),  # the first is the best: the others add nothing
        ([43, 42], s(-0.5) / s(-1)),  # in any order
        ([42, 42], s(-0.5) / s(-1)),
        ([30], -1.0 - 0.11),  # far off, and missed
        ([40, 44], 1.0 + 0.11 * s(1 / 3)),  # just behind costs little
        ([40, 30, 31, 99], 1.0 - 3 * 0.11),  # each counts
        ([0, 14, 40], 1.0),  # the first fifteen of a hundred rows are free
        ([15, 40], 1.0 - 0.11),
    ],
)
def test_alarms_of_one_file(alarms: list[int], raw: float) -> None:
    found = score(100, [(40, 43)], np.array(alarms, dtype=int), STANDARD)
    assert found.raw == pytest.approx(raw)


def test_what_it_is_made_of_is_counted() -> None:
    found = score(100, [(40, 43), (60, 63)], np.array([20, 41, 42, 80, 3]), STANDARD)
    assert found[1:] == (2, 1, 2)
    assert total([found, found])[1:] == (4, 2, 4)


def test_profiles_weigh_differently() -> None:
    alarms = np.array([20, 60])
    windows = [(40, 43), (60, 63)]
    assert score(100, windows, alarms, STANDARD).raw == pytest.approx(1 - 1 - 0.11)
    assert score(100, windows, alarms, LOW_FP).raw == pytest.approx(1 - 1 - 0.22)
    assert score(100, windows, alarms, LOW_FN).raw == pytest.approx(1 - 2 - 0.11)


@pytest.mark.parametrize("profile", [STANDARD, LOW_FP, LOW_FN])
def test_no_alarm_scores_0_and_a_perfect_detector_100(profile: Profile) -> None:
    rows, windows = {"a": 100, "b": 50}, {"a": [(40, 43), (60, 70)], "b": []}
    null, _ = corpus_score(rows, windows, {"a": NONE, "b": NONE}, profile)
    perfect, _ = corpus_score(rows, windows, {"a": np.array([40, 60]), "b": NONE}, profile)
    assert (null, perfect) == (0, 100)
    half, _ = corpus_score(rows, windows, {"a": np.array([40]), "b": NONE}, profile)
    assert half == 50
    noisy, _ = corpus_score(rows, windows, {"a": NONE, "b": np.arange(50)}, profile)
    assert noisy < 0


def test_a_file_is_scored_after_15_percent_and_at_most_750_rows() -> None:
    assert [probation(n) for n in (100, 1_882, 4_032, 5_000, 22_695)] == [15, 282, 604, 750, 750]


def test_a_published_total_is_normalised_as_published() -> None:
    """Of 116 windows, HTM's sum of 46.63 is the published 70.1."""
    assert normalised(Score(46.63, 116, 0, 0), STANDARD) == pytest.approx(70.1, abs=0.05)
    assert normalised(Score(-116, 116, 0, 0), STANDARD) == 0
    assert normalised(Score(-232, 116, 0, 0), LOW_FN) == 0


def test_profiles_are_read_from_the_benchmarks_own_file(tmp_path: Path) -> None:
    matrix = {"tpWeight": 1.0, "fnWeight": 2.0, "fpWeight": 0.11, "tnWeight": 1.0}
    path = tmp_path / "profiles.json"
    path.write_text(json.dumps({"reward_low_FN_rate": {"CostMatrix": matrix}}))
    assert read_profiles(path) == {"reward_low_FN_rate": LOW_FN}


@pytest.mark.realdata
def test_the_three_profiles_of_the_benchmark() -> None:
    path = Path(__file__).parents[5] / "shared/data/nab/config/profiles.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert read_profiles(path) == {
        "standard": STANDARD,
        "reward_low_FP_rate": LOW_FP,
        "reward_low_FN_rate": LOW_FN,
    }
