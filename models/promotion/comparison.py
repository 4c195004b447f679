"""What a task brings to be retrained: data kept back, and measures of two artifacts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.artifact import Artifact
from models.promotion.rule import Measure


@dataclass(frozen=True)
class Figure:
    """A picture of the report.

    Args:
        source: an image as a data URI.
        text: what to see in it, a sentence.
    """

    title: str
    source: str
    text: str = ""


@dataclass(frozen=True)
class Comparison:
    """Args:
    measures: of both models, on the same rows.
    notes: what a reader must know to judge them, such as that verdicts were too few.
    data: counts for metrics.json.
    """

    measures: Sequence[Measure]
    notes: Sequence[str]
    data: dict[str, Any]
    figures: Sequence[Figure] = field(default_factory=tuple)


class Comparer(Protocol):
    """Rows are chosen once, before training; the models are compared on them afterwards."""

    def keep_back(self) -> list[str]:
        """Choose the rows; returns overrides of `scripts/train.py` that keep training off them."""
        ...

    def compare(self, champion: Artifact, challenger: Artifact) -> Comparison: ...
