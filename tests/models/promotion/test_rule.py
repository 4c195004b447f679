"""The rule: better by a margin where it counts, no worse elsewhere, and sure enough of it."""

from __future__ import annotations

import numpy as np
import pytest

from models.promotion.bootstrap import ranking
from models.promotion.rule import Measure, PromotionRule

RULE = PromotionRule(
    decisive={"verdict_ap": 0.02, "planted_ap": 0.02}, no_worse={"alarms": 0.01}, confidence=0.8
)


def measure(name: str, old: float, new: float, better: str = "higher", **more: float) -> Measure:
    return Measure(name, old, new, better, rows=100, **more)


def test_the_most_trusted_measure_that_was_taken_decides() -> None:
    verdict, planted = measure("verdict_ap", 0.5, 0.4), measure("planted_ap", 0.5, 0.9)
    assert RULE.decide([planted, verdict]).by == "verdict_ap"
    assert not RULE.decide([planted, verdict]).promote
    assert RULE.decide([planted]).promote


@pytest.mark.parametrize(("new", "promote"), [(0.519, False), (0.52, True), (0.48, False)])
def test_the_margin(new: float, promote: bool) -> None:
    assert RULE.decide([measure("planted_ap", 0.5, new)]).promote is promote


@pytest.mark.parametrize(("alarms", "promote"), [(0.06, True), (0.0601, False), (0.0, True)])
def test_no_worse_elsewhere(alarms: float, promote: bool) -> None:
    taken = [measure("planted_ap", 0.5, 0.9), measure("alarms", 0.05, alarms, "lower")]
    decision = RULE.decide(taken)
    assert decision.promote is promote
    assert any("alarms got worse" in r for r in decision.reasons) is not promote


@pytest.mark.parametrize(
    ("alarms", "error", "promote"),
    [
        (0.064, 0.003, True),  # 0.004 over what is accepted, of which 0.0049 may be chance
        (0.066, 0.003, False),
        (0.064, 0.0, False),
        (0.064, None, False),
    ],
)
def test_a_loss_must_be_more_than_chance(alarms: float, error: float | None, promote: bool) -> None:
    rule = PromotionRule({"planted_ap": 0.02}, {"alarms": 0.01}, sure_loss={"alarms": 0.95})
    old = Measure("alarms", 0.05, alarms, "lower", rows=100, error=error)
    decision = rule.decide([measure("planted_ap", 0.5, 0.9), old])
    assert decision.promote is promote
    told = decision.reasons[-1]
    assert f"alarms {'may be' if promote else 'got'} worse, from 0.0500 to {alarms:.4f}" in told
    assert ("may be chance (95%)" in told) is bool(error)
    strict = PromotionRule({"planted_ap": 0.02}, {"alarms": 0.01})
    assert not strict.decide([measure("planted_ap", 0.5, 0.9), old]).promote


@pytest.mark.parametrize(
    ("sure", "says"),
    [
        ({"alarm": 0.95}, r"names 'alarm', which is none of no_worse: \['alarms'\]"),
        ({"alarms": 1.0}, "sure_loss of alarms is 1.0"),
        ({"alarms": 0.05}, "from 0.5"),
    ],
)
def test_a_confidence_that_is_none_is_named(sure: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PromotionRule({"planted_ap": 0.02}, {"alarms": 0.01}, sure_loss=sure)


def test_a_gain_by_luck_is_none() -> None:
    lucky = measure("planted_ap", 0.5, 0.9, low=-0.1, high=0.9, chance=0.79)
    decision = RULE.decide([lucky])
    assert not decision.promote
    assert "79%" in " ".join(decision.reasons)


def test_nothing_decisive_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"none of \['verdict_ap', 'planted_ap'\] was measured"):
        RULE.decide([measure("alarms", 0.1, 0.1, "lower")])


def test_the_bootstrap_knows_a_clear_gain_from_none() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([False, True], [300, 60])
    good, bad = truth + rng.normal(0, 0.4, 360), truth + rng.normal(0, 3.0, 360)
    better = {m.name: m for m in ranking("x", truth, bad, good, resamples=60)}
    assert set(better) == {"x_average_precision", "x_auroc"}
    assert better["x_auroc"].chance == 1.0
    assert better["x_auroc"].low is not None
    assert better["x_auroc"].low > 0
    same = ranking("x", truth, good, good, resamples=20)[0]
    assert (same.gain, same.chance) == (0.0, 0.5)
    assert ranking("x", truth, bad, good, resamples=0)[0].chance is None
