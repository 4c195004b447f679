"""Telemetry → what is learnt from and what is measured: in time, or a random half of the normals.

A split's training part has its labels hidden unless it says otherwise: an unsupervised detector
then learns from what a real stream would give it, incidents included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.anomaly.telemetry import ANOMALOUS, Telemetry, TelemetryError


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
        return Split(train if self.labels else train.hidden(), telemetry.take(~early))


@dataclass
class NormalHalf:
    """A random half of the normal rows trains; the rest and all anomalies test.

    The semi-supervised protocol of Livernoche et al., ICLR 2024.

    Args:
        seed: of the half.
        train_rows: at most so many of them train; None: all.
        labels: whether training may read labels; then a share of the anomalies trains too.
        anomaly_share: that share, of all anomalies.
    """

    seed: int = 0
    train_rows: int | None = None
    labels: bool = False
    anomaly_share: float = 0.5

    def __call__(self, telemetry: Telemetry) -> Split:
        """Raises `TelemetryError` where there are fewer than two normal rows."""
        normal = np.flatnonzero(telemetry.label != ANOMALOUS)
        if len(normal) < 2:
            raise TelemetryError(f"{len(normal)} normal rows; two are needed for two halves")
        generator = np.random.default_rng(self.seed)
        shuffled = generator.permutation(normal)
        half = shuffled[: len(shuffled) // 2]
        known = generator.permutation(np.flatnonzero(telemetry.label == ANOMALOUS))
        known = known[: int(len(known) * self.anomaly_share) if self.labels else 0]
        rest = np.ones(len(telemetry), dtype=bool)
        rest[half] = False
        rest[known] = False
        train = telemetry.take(np.sort(np.concatenate([half[: self.train_rows], known])))
        return Split(train if self.labels else train.hidden(), telemetry.take(rest))
