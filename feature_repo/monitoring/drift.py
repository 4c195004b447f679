"""Whether a feature is distributed as it was.

An alarm needs both: a distance that matters, and more of it than chance would bring into samples of
these sizes. So neither a small sample nor a large one alarms for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feature_repo.monitoring.distances import effective, jensen_shannon, noise, psi
from feature_repo.monitoring.profile import Profile


class Drift(NamedTuple):
    """Distances of one feature from its baseline.

    Args:
        psi_noise, js_noise: what chance alone stays below.
        level: "none", "moderate", "major"; "unknown" with too few rows.
    """

    psi: float | None
    js: float | None
    psi_noise: float | None
    js_noise: float | None
    level: str


@dataclass(frozen=True)
class DriftTest:
    """How much is too much.

    Args:
        psi_moderate, psi_major: .1 and .25 are the convention of credit scoring (E. M. Lewis, An
            introduction to credit scoring, 1994; N. Siddiqi, Credit risk scorecards, 2006); it has
            no derivation, and was made for about ten bins.
        js: Jensen-Shannon distance; .1 is what Evidently takes by default. Beyond it: moderate.
        alpha: chance of passing the noise level without drift.
        draws: of the permutation null.
        min_rows: on both sides; with fewer there is no verdict.
    """

    psi_moderate: float = 0.1
    psi_major: float = 0.25
    js: float = 0.1
    alpha: float = 0.01
    draws: int = 200
    min_rows: int = 50

    def __call__(self, baseline: Profile, current: Profile) -> Drift:
        before, after = np.array(baseline.counts), np.array(current.counts)
        if min(baseline.rows, current.rows) < max(1, self.min_rows):
            return Drift(None, None, None, None, "unknown")
        far, js = float(psi(before, after)), float(jensen_shannon(before, after))
        rows = effective(before, baseline.effect), effective(after, current.effect)
        if not min(r.sum() for r in rows):  # a few blocks of rows that are all alike
            return Drift(far, js, None, None, "unknown")
        chance = noise(*rows, self.alpha, self.draws)
        return Drift(
            far,
            js,
            chance.psi,
            chance.js,
            self._level(far, js, far > chance.psi, js > chance.js),
        )

    def _level(self, far: float, js: float, psi_real: bool, js_real: bool) -> str:
        if psi_real and far >= self.psi_major:
            return "major"
        if (psi_real and far >= self.psi_moderate) or (js_real and js >= self.js):
            return "moderate"
        return "none"
