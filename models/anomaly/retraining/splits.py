"""Cut telemetry at a moment: what came before teaches, what came after judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.anomaly.splits import Split
from models.anomaly.telemetry import Telemetry, TelemetryError


def moment(telemetry: Telemetry, share: float) -> int:
    """The second from which the newest `share` of the rows are.

    Of the rows, not of the time: one judged event from long ago, put back, must not move the cut.

    Raises:
        TelemetryError: all rows are of one moment.
    """
    at = int(np.quantile(telemetry.time, 1 - share, method="higher"))
    if at == int(telemetry.time.min()):
        raise TelemetryError(
            f"most of {len(telemetry)} rows are of one moment: nothing can be kept back"
        )
    return at


@dataclass
class Newest:
    """The newest share of the rows tests, or sets thresholds; labels stay.

    Args:
        share: of the rows.
    """

    share: float = 0.1

    def __call__(self, telemetry: Telemetry) -> Split:
        """Raises `TelemetryError` where a part would be empty."""
        return SplitAt(moment(telemetry, self.share))(telemetry)


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
            train = train.hidden()
        return Split(train, telemetry.take(~early))
