"""What happens to an alert that nobody acknowledges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.matchers import Matchers
from pipelines.anomalies.store import SEVERITIES


class EscalationStep:
    """Tell further routes, or raise the severity, or both.

    Args:
        after: since the alert was first told.
        matchers: alerts that it concerns; others skip it.
        routes: names; none: all routes that match the alert, with its new severity.
        severity: at least this from now on; null: as it is.

    Raises:
        AlertConfigError: no duration, no such severity.
    """

    def __init__(
        self,
        after: str,
        matchers: Sequence[str] = (),
        routes: Sequence[str] = (),
        severity: str | None = None,
    ) -> None:
        if severity is not None and severity not in SEVERITIES:
            raise AlertConfigError(f"no severity {severity!r}; there are {list(SEVERITIES)}")
        self.after = duration_us(after)
        self.text = f"not acknowledged for {after}"
        self.matchers = Matchers(matchers)
        self.routes = list(routes)
        self.severity = severity


def in_order(steps: Sequence[EscalationStep]) -> list[EscalationStep]:
    """Raises: AlertConfigError: a step is not later than the one before it."""
    for before, after in pairwise(steps):
        if after.after <= before.after:
            raise AlertConfigError(
                f"escalation steps must be later and later: {after.text!r} after {before.text!r}"
            )
    return list(steps)
