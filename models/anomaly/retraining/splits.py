"""Cut telemetry at a moment: what came before teaches, what came after judges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.anomaly.splits import Split
from models.anomaly.telemetry import UNKNOWN, Telemetry, TelemetryError


def moment(telemetry: Telemetry, holdout_share: float) -> int:
    """The second at which the newest `holdout_share` of the time begins.

    Raises:
        TelemetryError: all rows are of one moment.
    """
    first, last = int(telemetry.time.min()), int(telemetry.time.max())
    if first == last:
        raise TelemetryError(
            f"all {len(telemetry)} rows are of one moment: nothing can be kept back"
        )
    return last - int((last - first) * holdout_share)


@dataclass
class SplitAt:
    """Rows before a moment train, rows from it on test; every source is cut there.

    Args:
        at: seconds since 1970 UTC.
        since: older rows are left out; None: none are.
        labels: whether training may read the labels.
    """

    at: int
    since: int | None = None
    labels: bool = True

    def __call__(self, telemetry: Telemetry) -> Split:
        """Raises `TelemetryError` where a part would be empty."""
        early = telemetry.time < self.at
        learnt = early if self.since is None else early & (telemetry.time >= self.since)
        if not learnt.any() or early.all():
            raise TelemetryError(
                f"of {len(telemetry)} rows, {int(learnt.sum())} are from {self.since} to before "
                f"{self.at} and {int((~early).sum())} from it on (seconds since 1970); both "
                "are needed"
            )
        train = telemetry.take(learnt)
        if not self.labels:
            train = replace(train, label=np.full_like(train.label, UNKNOWN))
        return Split(train, telemetry.take(~early))
