"""Whether a challenger takes the champion's place: a rule over paired measures, for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One figure of both models on the same rows.

    Args:
        better: `higher` or `lower`.
        low, high: the interval of challenger − champion over resampled rows; None: not resampled.
        chance: share of resamplings in which the challenger is better; None: not resampled.
        rows: that were measured on.
    """

    name: str
    champion: float
    challenger: float
    better: str
    rows: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None

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
    """

    decisive: Mapping[str, float]
    no_worse: Mapping[str, float]
    confidence: float = 0.8

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
        worse = [
            taken[name]
            for name, loss in self.no_worse.items()
            if name in taken and name != by and taken[name].gain < -loss - 1e-9
        ]
        reasons += [
            f"{m.name} got worse, from {m.champion:.4f} to {m.challenger:.4f}; a loss of "
            f"{self.no_worse[m.name]:g} is accepted"
            for m in worse
        ]
        return Decision(enough and sure and not worse, by, tuple(reasons))
