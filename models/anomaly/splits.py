"""Telemetry → what is learnt from and what is measured: in time, or a random half of the normals.

A split's training part has its labels hidden unless it says otherwise: an unsupervised detector
then learns from what a real stream would give it, incidents included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from models.anomaly.telemetry import ANOMALOUS, UNKNOWN, Telemetry, TelemetryError


class Split(NamedTuple):
    train: Telemetry
    test: Telemetry


@dataclass
class TimeSplit:
    """The first part in time trains, the rest tests; every source is cut at the same moment.

    Args:
        train_share: share of the time from the first row to the last.
        labels: whether training may read the labels.
    """

    train_share: float = 0.7
    labels: bool = False

    def __call__(self, telemetry: Telemetry) -> Split:
        """Raises `TelemetryError` where a part would be empty."""
        first, last = int(telemetry.time.min()), int(telemetry.time.max())
        cut = first + (last - first) * self.train_share
        early = telemetry.time <= cut
        if early.all():
            raise TelemetryError(
                f"all {len(early)} rows are in the first {self.train_share:.0%} of the time: "
                "nothing is left to test on"
            )
        train = telemetry.take(early)
        return Split(train if self.labels else _hidden(train), telemetry.take(~early))


@dataclass
class NormalHalf:
    """A random half of the normal rows trains; the rest and all anomalies test.

    The semi-supervised protocol of Livernoche et al., ICLR 2024.

    Args:
        seed: of the half.
        train_rows: at most so many of them train; None: all.
    """

    seed: int = 0
    train_rows: int | None = None

    def __call__(self, telemetry: Telemetry) -> Split:
        """Raises `TelemetryError` where there are fewer than two normal rows."""
        normal = np.flatnonzero(telemetry.label != ANOMALOUS)
        if len(normal) < 2:
            raise TelemetryError(f"{len(normal)} normal rows; two are needed for two halves")
        shuffled = np.random.default_rng(self.seed).permutation(normal)
        half = shuffled[: len(shuffled) // 2]
        rest = np.ones(len(telemetry), dtype=bool)
        rest[half] = False
        return Split(telemetry.take(np.sort(half[: self.train_rows])), telemetry.take(rest))


def _hidden(telemetry: Telemetry) -> Telemetry:
    return replace(telemetry, label=np.full_like(telemetry.label, UNKNOWN))
