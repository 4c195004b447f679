"""Raw scores of any shape → powers of ten of rarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.anomaly.surprise import Surprise
from models.anomaly.telemetry import TelemetryError

rng = np.random.default_rng(0)


def fitted(raw: np.ndarray, **settings: int) -> Surprise:
    surprise = Surprise(**settings)
    surprise.fit(raw)
    return surprise


def ask(surprise: Surprise, raw: np.ndarray | list[float]) -> np.ndarray:
    return surprise(torch.tensor(np.asarray(raw), dtype=torch.float32)).numpy()


@pytest.mark.parametrize(
    "draw", [rng.normal, rng.exponential, lambda size: rng.gamma(2, size=size) - 100]
)
def test_it_is_the_share_of_unseen_events_that_score_as_high(draw: object) -> None:
    surprise = fitted(draw(size=20_000))  # type: ignore[operator]
    scores = ask(surprise, draw(size=200_000))  # type: ignore[operator]
    for power in (1, 2, 3):
        assert -np.log10((scores >= power).mean()) == pytest.approx(power, abs=0.25)


def test_the_tail_goes_on_exponentially() -> None:
    surprise = fitted(rng.exponential(size=50_000), tail=500)
    # Of exponential scores, one in 10^p exceeds p·ln 10.
    powers = np.array([4, 6, 10])
    assert ask(surprise, powers * np.log(10)) == pytest.approx(powers, rel=0.1)


@pytest.mark.parametrize("raw", [rng.normal(size=300), np.r_[np.zeros(200), rng.normal(size=9)]])
def test_order_is_kept_everywhere(raw: np.ndarray) -> None:
    asked = np.unique(np.r_[raw, np.linspace(-8, 80, 500)].astype(np.float32))
    scores = ask(fitted(raw), asked)
    assert (np.diff(scores) > 0).all()
    assert (scores > 0).all()


def test_scores_that_never_varied_have_a_scale_still() -> None:
    scores = ask(fitted(np.full(50, 3.0)), [3.0, 4.0, 13.0])
    assert scores[0] < 0.1
    assert 0.3 < scores[1] < 1
    assert 3 < scores[2] < 6


@pytest.mark.parametrize("raw", [np.empty(0), np.array([1.0, np.nan])])
def test_nothing_or_nan_is_refused(raw: np.ndarray) -> None:
    with pytest.raises(TelemetryError, match="not finite"):
        fitted(raw)
