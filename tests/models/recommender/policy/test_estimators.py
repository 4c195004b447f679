"""Estimators against a planted truth, and against their definitions worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.recommender.policy.estimators import (
    IPS,
    SNIPS,
    DoublyRobust,
    Estimator,
    Weights,
    effective_sample_size,
)
from models.recommender.policy.evaluation import PolicyEvaluation, Verdict
from models.recommender.policy.intervals import Bootstrap, Interval, Normal
from models.recommender.policy.log import Log, LogReader
from models.recommender.policy.reward_model import MeanRewards
from models.recommender.policy.sums import Sums
from models.recommender.policy.targets import ColumnTarget
from tests.models.recommender.policy import bandit

ESTIMATORS: dict[str, Estimator] = {
    "ips": IPS(),
    "snips": SNIPS(),
    "doubly_robust": DoublyRobust(),
}
FULL = ColumnTarget(actions="might", chances="chances")


def read(frame: pl.DataFrame, folder: Path) -> Log:
    frame.write_parquet(folder / "log.parquet")
    columns = {
        n: n for n in ("request_id", "user_id", "items", "propensity", "reward")
    } | {"target": "judged"}  # fmt: skip
    reader = LogReader(str(folder / "log.parquet"), columns, str(folder / "rejects.csv"), 0.0)
    return reader.read()


def judge(
    log: Log,
    weights: Weights | None = None,
    interval: Interval | None = None,
    target: ColumnTarget = FULL,
    context: str | None = "device",
) -> Verdict:
    evaluation = PolicyEvaluation(
        ESTIMATORS, weights or Weights(), interval or Normal(), MeanRewards(), context=context
    )
    return evaluation(log, target)


@pytest.mark.parametrize("interval", [Normal(), Bootstrap(draws=300)])
def test_every_interval_covers_the_planted_truth(interval: Interval, tmp_path: Path) -> None:
    verdict = judge(read(bandit.log(20_000, seed=1), tmp_path), interval=interval)
    assert set(verdict.estimates) == set(ESTIMATORS)
    for name, (value, low, high) in verdict.estimates.items():
        assert low < bandit.TRUTH < high, name
        assert low < value < high
        assert high - low < 0.06, "wide enough to cover anything would prove nothing"
    assert verdict.logged.low < bandit.RAN_TRUTH < verdict.logged.high
    assert verdict.logged.high < min(e.low for e in verdict.estimates.values())
    assert verdict.mean_weight == pytest.approx(1, abs=0.03)
    assert verdict.unsupported == 0


def test_intervals_cover_as_often_as_they_say(tmp_path: Path) -> None:
    covered = dict.fromkeys(ESTIMATORS, 0)
    widths: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for seed in range(40):
        verdict = judge(read(bandit.log(1200, seed), tmp_path))
        for name, (_, low, high) in verdict.estimates.items():
            covered[name] += low < bandit.TRUTH < high
            widths[name].append(high - low)
    for name, times in covered.items():
        assert times >= 34, f"{name}: 95 % intervals covered {times} of 40 times"
    assert np.mean(widths["doubly_robust"]) < np.mean(widths["ips"]), "what the model is for"
    assert np.mean(widths["snips"]) < np.mean(widths["ips"])


def test_wrong_propensities_mislead_ips_and_not_the_doubly_robust(tmp_path: Path) -> None:
    """Its model is right here, so that it stands where the propensities do not."""
    frame = bandit.log(20_000, seed=2).with_columns(pl.lit(0.2).alias("propensity"))
    verdict = judge(read(frame, tmp_path))
    off = {n: abs(e.value - bandit.TRUTH) for n, e in verdict.estimates.items()}
    assert off["ips"] > 0.02
    assert off["doubly_robust"] < 0.25 * off["ips"]


def test_a_wrong_model_does_not_mislead_the_doubly_robust(tmp_path: Path) -> None:
    log = read(bandit.log(20_000, seed=3), tmp_path)
    strong = MeanRewards(strength=1e9)  # the same for every item
    value, low, high = PolicyEvaluation(
        {"dr": DoublyRobust()}, Weights(), Normal(), strong
    )(log, FULL).estimates["dr"]  # fmt: skip
    assert low < bandit.TRUTH < high
    assert value == pytest.approx(bandit.TRUTH, abs=0.02)


def test_a_cascade_is_right_where_places_do_not_stand_alone(tmp_path: Path) -> None:
    log = read(bandit.slates(6000, seed=4), tmp_path)
    target = ColumnTarget()
    cascade = judge(log, Weights(slate="cascade"), target=target, context=None)
    alone = judge(log, Weights(slate="place"), target=target, context=None)
    for name in ("ips", "snips"):
        _, low, high = cascade.estimates[name]
        assert low < bandit.SLATE_TRUTH < high
        assert high - low < 0.2
        assert alone.estimates[name].high < bandit.SLATE_TRUTH
    assert "doubly_robust" not in cascade.estimates, "it is not known what else might be shown"
    assert np.isnan(cascade.unsupported)


def test_definitions_by_hand() -> None:
    cluster = np.array([0, 0, 1, 2])
    request = np.array([0, 0, 1, 2])
    place = np.array([0, 1, 0, 0])
    weight = np.array([2.0, 0.5, 1.0, 3.0])
    reward = np.array([1.0, 4.0, 2.0, 0.0])
    expected, fitted = np.array([1.0, 2, 3, 4]), np.array([0.5, 1, 2, 1])
    sums = Sums.of(cluster, request, place, weight, reward, expected, fitted)
    once = np.ones((1, 3))
    assert IPS().value(sums, once)[0] == pytest.approx((2 + 2 + 2 + 0) / 3)
    snips = (2 + 2) / (2 + 1 + 3) + (2 / 0.5) * (1 / 3)
    assert SNIPS().value(sums, once)[0] == pytest.approx(snips)
    robust = (1 + 2 * 0.5) + (2 + 0.5 * 3) + (3 + 0) + (4 - 3)
    assert DoublyRobust().value(sums, once)[0] == pytest.approx(robust / 3)
    # a cluster that counts twice is a log that has it twice
    twice = Sums.of(
        np.array([0, 0, 1, 2, 3, 3]), np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 0, 0, 0, 1]),
        weight[[0, 1, 2, 3, 0, 1]], reward[[0, 1, 2, 3, 0, 1]],
        expected[[0, 1, 2, 3, 0, 1]], fitted[[0, 1, 2, 3, 0, 1]],
    )  # fmt: skip
    for estimator in ESTIMATORS.values():
        counted = estimator.value(sums, np.array([[2.0, 1, 1]]))[0]
        assert counted == pytest.approx(estimator.value(twice, np.ones((1, 4)))[0])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_influence_is_the_slope_in_how_often_a_cluster_counts(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = 40
    cluster = np.arange(rows) // 4
    request = np.arange(rows) // 2
    sums = Sums.of(cluster, request, np.arange(rows) % 2, rng.random(rows) + 0.1,
                   rng.random(rows), rng.random(rows), rng.random(rows))  # fmt: skip
    estimator = ESTIMATORS[name]
    influence = estimator.influence(sums)
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    step = 1e-6
    for c in range(10):
        more = np.ones((1, 10))
        more[0, c] += step
        rise = estimator.value(sums, more)[0] - estimator.value(sums, np.ones((1, 10)))[0]
        assert rise / step == pytest.approx(influence[c] / 10, abs=1e-5)


def test_self_normalising_carries_a_constant_through(tmp_path: Path) -> None:
    frame = bandit.log(2000, seed=5)
    plain = judge(read(frame, tmp_path)).estimates["snips"].value
    raised = judge(read(frame.with_columns(pl.col("reward") + 3), tmp_path)).estimates["snips"]
    assert raised.value == pytest.approx(plain + 3)


def test_clipping_cuts_and_says_so(tmp_path: Path) -> None:
    log = read(bandit.log(4000, seed=6), tmp_path)
    free, cut = judge(log), judge(log, Weights(clip=2.0))
    assert free.clipped == 0 < cut.clipped < 1
    assert free.largest_weight == cut.largest_weight == pytest.approx(6.0)
    assert cut.effective_sample_size > free.effective_sample_size
    assert cut.estimates["ips"].value < free.estimates["ips"].value


def test_weights_of_a_cascade_multiply_down_a_slate() -> None:
    request = np.array([1, 0, 0, 1, 0])
    place = np.array([2, 1, 3, 1, 2])
    weight = Weights(slate="cascade").of(np.array([2.0, 3, 5, 7, 11]), np.ones(5), request, place)
    assert weight.tolist() == [14, 3, 165, 7, 33]
    assert Weights(clip=20.0, slate="cascade").of(
        np.array([2.0, 3, 5, 7, 11]), np.ones(5), request, place
    ).tolist() == [14, 3, 20, 7, 20]


def test_effective_sample_size() -> None:
    assert effective_sample_size(np.array([2.0, 2, 2])) == pytest.approx(3)
    assert effective_sample_size(np.array([1.0, 0, 0])) == pytest.approx(1)
    assert effective_sample_size(np.zeros(3)) == 0


def test_a_target_that_the_log_cannot_speak_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = bandit.log(2000, seed=7).with_columns(
        pl.Series("might", [["item-0", "new"]] * 2000),
        pl.Series("chances", [[0.5, 0.5]] * 2000),
    )
    frame = frame.with_columns(judged=pl.when(pl.col("items") == "item-0").then(0.5).otherwise(0.0))
    verdict = judge(read(frame, tmp_path))
    assert verdict.unsupported == pytest.approx(0.5)
    assert "mean weight" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Weights(clip=0),
        lambda: Weights(slate="both"),
        lambda: Normal(confidence=1.0),
        lambda: Bootstrap(draws=3),
        lambda: MeanRewards(strength=0),
        lambda: MeanRewards(folds=1),
    ],
)
def test_settings_out_of_range_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"must (be|lie)"):
        wrong()
