"""Whether a challenger takes the champion's place: a rule over paired measures, for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One figure of both models on the same rows.

    Args:
        better: `higher` or `lower`.
        low, high: the interval of challenger − champion over resampled rows; None: not resampled.
        chance: share of resamplings in which the challenger is better; None: not resampled.
        rows: that were measured on.
        error: standard error of challenger − champion; None: unknown.
    """

    name: str
    champion: float
    challenger: float
    better: str
    rows: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    error: float | None = None

    @property
    def gain(self) -> float:
        """By how much the challenger is better; negative: worse."""
        difference = self.challenger - self.champion
        return difference if self.better == "higher" else -difference

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"gain": self.gain}


@dataclass(frozen=True)
class Decision:
    """Args:
    by: the measure that decided.
    reasons: sentences for people, the decisive one first.
    """

    promote: bool
    by: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PromotionRule:
    """Better by a margin in the first measure there is, and no worse in the others.

    Args:
        decisive: measures in order of trust → the least gain; the first that was measured decides.
        no_worse: other measures → the loss that is still accepted.
        confidence: least share of resamplings in which the challenger must be better, where the
            deciding measure was resampled.
        sure_loss: measures of `no_worse` → the confidence, from 0.5 to below 1, with which a loss
            must be above what is accepted to count (one-sided, by the measure's `error`). The
            others count as they were measured.

    Raises:
        ValueError: `sure_loss` names no measure of `no_worse`, or is no such confidence.
    """

    decisive: Mapping[str, float]
    no_worse: Mapping[str, float]
    confidence: float = 0.8
    sure_loss: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, confidence in self.sure_loss.items():
            if name not in self.no_worse:
                raise ValueError(
                    f"sure_loss names {name!r}, which is none of no_worse: {list(self.no_worse)}"
                )
            if not 0.5 <= confidence < 1:
                raise ValueError(
                    f"sure_loss of {name} is {confidence}; from 0.5 (the figure itself counts) to "
                    "below 1 are accepted"
                )

    def decide(self, measures: Sequence[Measure]) -> Decision:
        """Raises `ValueError` where none of the decisive measures was taken."""
        taken = {m.name: m for m in measures}
        by = next((name for name in self.decisive if name in taken), None)
        if by is None:
            raise ValueError(f"none of {list(self.decisive)} was measured; only {list(taken)}")
        measure, margin = taken[by], self.decisive[by]
        # A figure of two hundredths and a margin of two hundredths are equal, whatever floats say.
        enough = measure.gain >= margin - 1e-9
        reasons = [
            f"{by} went from {measure.champion:.4f} to {measure.challenger:.4f}: "
            f"{'a gain' if enough else 'not a gain'} of at least {margin:g}"
        ]
        sure = measure.chance is None or measure.chance >= self.confidence
        if measure.chance is not None:
            reasons.append(
                f"the challenger is better in {measure.chance:.0%} of resamplings; "
                f"{self.confidence:.0%} are asked for"
            )
        worse = False
        for name, accepted in self.no_worse.items():
            if name not in taken or name == by or taken[name].gain >= -accepted - 1e-9:
                continue
            m, doubt = taken[name], self._doubt(taken[name])
            certain = m.gain < -accepted - doubt - 1e-9
            worse |= certain
            text = (
                f"{name} {'got worse' if certain else 'may be worse'}, from {m.champion:.4f} to "
                f"{m.challenger:.4f}; a loss of {accepted:g} is accepted"
            )
            if doubt:
                text += f", and {doubt:.4f} may be chance ({self.sure_loss[name]:.0%})"
            reasons.append(text)
        return Decision(enough and sure and not worse, by, tuple(reasons))

    def _doubt(self, measure: Measure) -> float:
        """How much of a loss may be sampling error."""
        if measure.error is None or measure.name not in self.sure_loss:
            return 0.0
        return NormalDist().inv_cdf(self.sure_loss[measure.name]) * measure.error
