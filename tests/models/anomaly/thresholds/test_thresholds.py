"""What every threshold rule must do, as it is configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from models.anomaly.thresholds.bank import rounds
from models.anomaly.thresholds.conformal import Conformal
from models.anomaly.thresholds.quantile import Quantile
from models.anomaly.thresholds.spot import Dspot, Spot
from models.anomaly.thresholds.static import Static
from models.anomaly.thresholds.threshold import Threshold, ThresholdError

CONFIGS = Path(__file__).parents[4] / "configs/threshold"
RULES = sorted(p.stem for p in CONFIGS.glob("*.yaml"))
MOVING = [r for r in RULES if r != "static"]

Floats = NDArray[np.float64]


def rule(name: str, **settings: Any) -> Threshold:
    made: Threshold = hydra.utils.instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), **settings)
    return made


def normal(rng: np.random.Generator, n: int) -> Floats:
    """Surprises of normal events: −log10 of a uniform number."""
    return -np.log10(rng.uniform(size=n))


def ready(name: str, sources: int = 1, **settings: Any) -> Threshold:
    bank = rule(name, **settings)
    bank.calibrate(normal(np.random.default_rng(7), 4_000))
    bank.grow(sources)
    return bank


def feed(bank: Threshold, scores: Floats, start: float = 0.0, source: int = 0) -> Floats:
    """One event a second."""
    times = start + np.arange(len(scores))
    return bank.judge(np.full(len(scores), source), times, scores)


def test_the_configs_are_these() -> None:
    assert RULES == ["conformal", "dspot", "quantile", "spot", "static"]


@pytest.mark.parametrize("name", RULES)
def test_a_batch_is_judged_as_its_events_one_by_one(name: str) -> None:
    rng = np.random.default_rng(0)
    n, sources = 1_500, 7
    source = rng.integers(0, sources, n)
    score = normal(rng, n)
    score[200:400] += 5  # runs of alarms, and a shift that is adapted to
    score[::97] = np.nan
    time = np.arange(n) * 10.0
    at_once, single, split = (ready(name, sources, adapt_after_s=500) for _ in range(3))
    whole = at_once.judge(source, time, score)
    one = np.concatenate(
        [single.judge(source[i : i + 1], time[i : i + 1], score[i : i + 1]) for i in range(n)]
    )
    cuts = np.sort(rng.integers(0, n, 20))
    pieces = zip(*(np.split(a, cuts) for a in (source, time, score)), strict=True)
    parts = np.concatenate([split.judge(*piece) for piece in pieces])
    np.testing.assert_array_equal(whole, one)
    np.testing.assert_array_equal(whole, parts)
    for name_, rows in at_once.state().items():
        np.testing.assert_array_equal(rows, single.state()[name_])


@pytest.mark.parametrize("name", RULES)
def test_restored_it_goes_on_as_if_nothing_had_happened(name: str) -> None:
    rng = np.random.default_rng(1)
    score = normal(rng, 900) + np.where(np.arange(900) > 600, 4, 0)
    source = rng.integers(0, 3, 900)
    time = np.arange(900) * 10.0
    first = ready(name, 3, adapt_after_s=600)
    first.judge(source[:700], time[:700], score[:700])
    first.verdict(1, 9.0, confirmed=False)
    second = ready(name, adapt_after_s=600)
    second.restore(first.state())
    np.testing.assert_array_equal(first.current(), second.current())
    np.testing.assert_array_equal(
        first.judge(source[700:], time[700:], score[700:]),
        second.judge(source[700:], time[700:], score[700:]),
    )


@pytest.mark.parametrize("name", RULES)
def test_sources_are_handed_over_row_by_row(name: str) -> None:
    rng = np.random.default_rng(2)
    bank = ready(name, 4)
    bank.judge(rng.integers(0, 4, 2_000), np.arange(2_000.0), normal(rng, 2_000))
    there = ready(name)
    there.restore(bank.state(np.array([2, 0])))
    np.testing.assert_array_equal(there.current(), bank.current()[[2, 0]])
    there.grow(3)  # and one that nobody has seen
    assert there.current()[2] == ready(name).current()[0]


@pytest.mark.parametrize("name", RULES)
def test_a_state_is_a_copy(name: str) -> None:
    bank = ready(name)
    before = bank.state()
    kept = {k: v.copy() for k, v in before.items()}
    feed(bank, normal(np.random.default_rng(3), 500))
    for key, rows in kept.items():
        np.testing.assert_array_equal(before[key], rows)


@pytest.mark.parametrize("name", RULES)
def test_sources_do_not_touch_one_another(name: str) -> None:
    rng = np.random.default_rng(4)
    quiet = normal(rng, 500)
    alone, beside = ready(name, 2), ready(name, 2)
    feed(alone, quiet)
    for part in np.split(quiet, 10):
        feed(beside, part)
        feed(beside, normal(rng, 100) + 3, source=1)
        beside.verdict(1, 8.0, confirmed=False)
    assert alone.current()[0] == beside.current()[0]


@pytest.mark.parametrize("name", RULES)
def test_scores_that_are_missing_or_infinite_are_judged_but_not_learnt(name: str) -> None:
    rng = np.random.default_rng(5)
    score = normal(rng, 300)
    holed = np.insert(score, [0, 10, 10, 200], [np.nan, np.nan, np.inf, np.nan])
    clean, other = ready(name), ready(name)
    feed(clean, score)
    thresholds = feed(other, holed)
    assert np.isfinite(thresholds).all()
    assert clean.current()[0] == other.current()[0]


@pytest.mark.parametrize("name", RULES)
def test_too_few_scores_are_named(name: str) -> None:
    bank = rule(name)
    with pytest.raises(ThresholdError, match=r"3 scores .* it takes at least \d+"):
        bank.calibrate(np.array([1.0, 2.0, 3.0, np.nan, np.inf]))
    with pytest.raises(ThresholdError, match="not calibrated"):
        bank.judge(np.array([0]), np.array([0.0]), np.array([1.0]))


@pytest.mark.parametrize("name", RULES)
def test_sources_beyond_those_known_are_named(name: str) -> None:
    with pytest.raises(ThresholdError, match=r"0 to 5.*there are 2.*grow"):
        ready(name, 2).judge(np.array([0, 5]), np.zeros(2), np.ones(2))
    assert ready(name).judge(np.array([], dtype=int), np.array([]), np.array([])).shape == (0,)


def test_a_state_of_another_rule_or_size_is_refused() -> None:
    with pytest.raises(ThresholdError, match="another rule"):
        ready("spot").restore(ready("quantile").state())
    with pytest.raises(ThresholdError, match="restore with the settings it was saved with"):
        ready("spot").restore(ready("spot", peaks=64).state())
    torn = ready("spot", 2).state()
    torn["ring"] = torn["ring"][:1]
    with pytest.raises(ThresholdError, match=r"\[1, 2\] sources"):
        ready("spot").restore(torn)


DRAWS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "surprise": normal,
    "gamma": lambda rng, n: rng.gamma(2.0, 3.0, n),
    "normal": lambda rng, n: rng.normal(100, 5, n),
    "student": lambda rng, n: rng.standard_t(3, n),
    "pareto": lambda rng, n: rng.pareto(2.5, n),
    "uniform": lambda rng, n: rng.uniform(size=n),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("name", RULES)
def test_the_risk_is_kept_whatever_the_scores(name: str, draw: str) -> None:
    """400 sources with 500 events each; none was seen before, all alike."""
    rng = np.random.default_rng(11)
    risk = 5e-3
    bank = rule(name, risk=risk)
    bank.calibrate(DRAWS[draw](rng, 4_000))
    bank.grow(400)
    source = np.tile(np.arange(400), 500)
    score = DRAWS[draw](rng, len(source))
    alarms = score > bank.judge(source, np.repeat(np.arange(500.0), 400), score)
    # Within what a calibration of 4,000 can know. SPOT is too careful with a tail that ends.
    least = risk / 4 if draw == "uniform" and name == "spot" else risk / 3
    for share in (alarms.mean(), alarms[len(alarms) // 2 :].mean()):
        assert least < share < risk * 2


@pytest.mark.parametrize("name", MOVING)
def test_a_long_run_does_not_wear_the_threshold_down(name: str) -> None:
    """A rule that forgets, and never learns from alarms, alarms more and more."""
    rng = np.random.default_rng(12)
    small = {"quantile": {"memory": 300}, "conformal": {"window": 150}}.get(
        name, {"memory": 500, "peaks": 48}
    )
    bank = ready(name, 400, risk=2e-2, **small)
    source = np.tile(np.arange(400), 1_500)
    score = normal(rng, len(source))
    alarms = score > bank.judge(source, np.repeat(np.arange(1_500.0), 400), score)
    last = alarms[-100_000:].mean()
    assert 1e-2 < last < 4e-2


def test_the_conformal_rule_keeps_its_guarantee() -> None:
    """On exchangeable scores: k / (n + 1) exactly, so never above the risk."""
    rng = np.random.default_rng(13)
    bank = Conformal(risk=0.01, window=199, adapt_after_s=None, cut=None)
    bank.calibrate(rng.pareto(1.1, 199))
    bank.grow(400)
    source = np.tile(np.arange(400), 1_000)
    score = rng.pareto(1.1, len(source))
    alarms = score > bank.judge(source, np.repeat(np.arange(1_000.0), 400), score)
    own = alarms[400 * 200 :]  # once each window holds its source's own scores
    assert own.mean() == pytest.approx(0.01, rel=0.05)
    assert bank.state()["scores"].shape == (400, 199)


@pytest.mark.parametrize("name", ["spot", "dspot"])
def test_extreme_value_theory_reaches_beyond_what_was_seen(name: str) -> None:
    """1e-5 from 4,000 scores, where the exact answer is known: 5."""
    found = []
    for seed in range(30):
        bank = rule(name, risk=1e-5)
        bank.calibrate(normal(np.random.default_rng(seed), 4_000))
        bank.grow(1)
        found.append(bank.current()[0])
    assert np.median(found) == pytest.approx(5.0, abs=0.4)
    assert 3.3 < min(found) < max(found) < 10


@pytest.mark.parametrize("name", RULES)
def test_a_shift_becomes_normal_after_its_time_and_not_before(name: str) -> None:
    rng = np.random.default_rng(14)
    bank = ready(name, adapt_after_s=600, risk=1e-3)
    feed(bank, normal(rng, 3_000))
    before = bank.current()[0]
    moved = normal(rng, 3_000) + 6
    alarms = moved > feed(bank, moved, start=3_000)
    assert alarms[:600].all()
    assert alarms[700:].mean() < 0.05
    # something else still alarms, and the old state comes back when the shift is over
    assert feed(bank, np.array([30.0]), start=6_000)[0] < 30
    feed(bank, normal(rng, 700), start=6_001)
    assert bank.state()["shift"][0] == 0
    assert bank.current()[0] < 6
    feed(bank, normal(rng, 3_000), start=6_701)
    assert bank.current()[0] == pytest.approx(before, abs=1.5)


@pytest.mark.parametrize("name", RULES)
def test_without_adaptation_a_shift_alarms_for_ever(name: str) -> None:
    rng = np.random.default_rng(15)
    bank = ready(name, adapt_after_s=None, risk=1e-3)
    moved = normal(rng, 3_000) + 6
    assert (moved > feed(bank, moved)).all()


def test_a_shift_with_quiet_events_in_it_is_one() -> None:
    rng = np.random.default_rng(16)
    bank = ready("quantile", adapt_after_s=600)
    moved = normal(rng, 1_500) + np.where(rng.uniform(size=1_500) < 0.75, 6, 0)
    alarms = moved > feed(bank, moved)
    assert alarms[:550].mean() > 0.7
    assert alarms[800:].mean() < 0.05


def test_rare_alarms_far_apart_are_no_shift() -> None:
    bank = ready("static", value=4.0, adapt_after_s=600)
    score = np.zeros(5_000)
    score[::50] = 9.0
    assert (score > feed(bank, score)).sum() == 100


def test_two_events_an_hour_apart_are_no_shift() -> None:
    bank = ready("static", value=4.0, adapt_after_s=600)
    times = np.arange(9) * 3_600.0
    assert (bank.judge(np.zeros(9, dtype=int), times, np.full(9, 8.0)) == 4.0).all()


@pytest.mark.parametrize("name", RULES)
def test_a_constant_signal_does_not_alarm(name: str) -> None:
    bank = rule(name)
    bank.calibrate(np.full(2_000, 0.3))
    bank.grow(1)
    score = np.full(3_000, 0.3)
    thresholds = feed(bank, score)
    assert np.isfinite(thresholds).all()
    assert not (np.float32(score) > thresholds).any()
    assert np.isfinite(bank.current()).all()


@pytest.mark.parametrize("name", RULES)
def test_a_dismissal_raises_the_threshold_above_the_score_at_once(name: str) -> None:
    bank = ready(name, 2)
    other = bank.current()[1]
    score = bank.current()[0] + 1.0
    bank.verdict(0, score, confirmed=False)
    assert score < bank.current()[0] < score + 0.5
    assert bank.current()[1] == other
    feed(bank, normal(np.random.default_rng(17), 2_000))
    assert bank.current()[0] > score  # and it stays


@pytest.mark.parametrize("name", RULES)
def test_dismissals_cannot_silence_a_source(name: str) -> None:
    bank = ready(name)
    start = bank.current()[0]
    bank.verdict(0, 1e9, confirmed=False)
    assert start < bank.current()[0] < start + 2.1 * start


@pytest.mark.parametrize("name", RULES)
def test_a_confirmation_below_the_threshold_lowers_it_within_bounds(name: str) -> None:
    bank = ready(name)
    start = bank.current()[0]
    bank.verdict(0, start - 0.5, confirmed=True)
    assert start - 0.7 < bank.current()[0] < start - 0.5
    bank.verdict(0, -50.0, confirmed=True)
    assert bank.current()[0] > start / 2 - 0.1  # never so low that all alarm


@pytest.mark.parametrize("name", RULES)
def test_a_confirmation_takes_a_dismissal_back(name: str) -> None:
    bank = ready(name)
    start = bank.current()[0]
    bank.verdict(0, start + 2, confirmed=False)
    bank.verdict(0, start + 1, confirmed=True)
    assert bank.current()[0] < start + 1


@pytest.mark.parametrize("name", MOVING)
def test_a_confirmed_alarm_is_no_example_of_normal(name: str) -> None:
    """Alarms that came one by one were learnt from; confirmed, they are forgotten."""
    settings = {"risk": 2e-3}
    left, told = ready(name, **settings), ready(name, **settings)
    score = np.where(np.arange(400) % 40 == 39, 9.0, normal(np.random.default_rng(18), 400))
    feed(left, score)
    for at in range(0, 400, 40):
        feed(told, score[at : at + 40], start=at)
        told.verdict(0, 9.0, confirmed=True)
    assert told.current()[0] < left.current()[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Static(risk=0), "risk must be between"),
        (lambda: Quantile(risk=1e-6), "at least 1e"),
        (lambda: Quantile(bins=3), "bins"),
        (lambda: Spot(level=0.99, risk=0.02), "level must be"),
        (lambda: Spot(peaks=3), "peaks"),
        (lambda: Spot(prior=-1), "prior"),
        (lambda: Dspot(depth=0), "depth"),
        (lambda: Conformal(risk=1e-3, window=500), "at least 999"),
        (lambda: Static(adapt_after_s=-1), "adapt_after_s"),
        (lambda: Static(adapt_events=1), "adapt_events"),
        (lambda: Static(verdict_limit=-1), "verdict_limit"),
        (lambda: Conformal(cut=0), "cut"),
    ],
)
def test_settings_that_make_no_sense_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ThresholdError, match=message) as refused:
        make()
    assert refused.value.exit_code == 65


def test_rounds_hold_each_source_once_and_in_order() -> None:
    source = np.array([3, 1, 3, 3, 0, 1])
    assert [list(r) for r in rounds(source)] == [[4, 1, 0], [5, 2], [3]]
