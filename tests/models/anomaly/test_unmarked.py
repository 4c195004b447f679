"""Unmarked incidents are doubted, tails of any usual kind are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.anomaly.surprise import Surprise
from models.anomaly.unmarked import usual

Draw = Callable[[np.random.Generator, int], np.ndarray]
TAILS: dict[str, Draw] = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "normal": lambda rng, n: rng.normal(size=n),
    "gamma": lambda rng, n: rng.gamma(2, size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "pareto": lambda rng, n: rng.pareto(2.5, size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "whole": lambda rng, n: rng.poisson(3, size=n).astype(float),
    "constant": lambda _, n: np.full(n, 2.0),
}


def incidents(rng: np.random.Generator, share: float, count: int = 8000) -> np.ndarray:
    """A share of the scores at 7 to 9 times the deviation of the others."""
    many = int(count * share)
    return np.r_[rng.normal(size=count - many), rng.uniform(7, 9, size=many)]


@pytest.mark.parametrize("share", [0.002, 0.005, 0.009])
def test_a_few_incidents_are_found_and_hardly_anything_else(share: float) -> None:
    rng = np.random.default_rng(0)
    scores = incidents(rng, share)
    kept = usual(scores)
    assert scores[kept].max() < 7, "all of them"
    assert (~kept).sum() - int(8000 * share) <= 8


@pytest.mark.parametrize("name", sorted(TAILS))
@pytest.mark.parametrize("count", [300, 8000])
def test_a_tail_without_incidents_is_left_alone(name: str, count: int) -> None:
    shares = [
        (~usual(TAILS[name](np.random.default_rng(seed), count))).mean() for seed in range(10)
    ]
    assert np.mean(shares) < 1e-3
    assert max(shares) <= 0.01


def test_too_few_scores_tell_nothing_and_zero_switches_it_off() -> None:
    rng = np.random.default_rng(0)
    assert usual(incidents(rng, 0.01, 900)).all()
    assert usual(incidents(rng, 0.005), most=0).all()
    assert usual(np.empty(0)).all()


def test_unmarked_incidents_do_not_raise_the_scale() -> None:
    """Half a percent of them: the next incident is as surprising as if they had been marked."""
    rng = np.random.default_rng(0)
    mixed = incidents(rng, 0.005)

    def surprise(raw: np.ndarray, **settings: float) -> np.ndarray:
        made = Surprise(**settings)  # type: ignore[arg-type]
        made.fit(raw)
        found: np.ndarray = made(torch.tensor([2.0, 3.0, 8.0])).numpy()
        return found

    marked, robust = surprise(mixed[:7960]), surprise(mixed)
    trusting = surprise(mixed, unmarked=0.0)
    assert trusting[2] < 3.2, "before: no alarm"
    assert robust[2] > 8
    np.testing.assert_allclose(robust[:2], marked[:2], atol=0.1)
    assert robust[2] == pytest.approx(marked[2], rel=0.3)
