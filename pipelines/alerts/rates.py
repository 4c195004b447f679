"""How many anomalies within how long it takes for an alert."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.matchers import Labels, Matchers


class RateRule:
    """`at_least` anomalies, by the time of their events, within `within`.

    Raises:
        AlertConfigError: at_least below 1, or no duration.
    """

    def __init__(self, name: str, matchers: Sequence[str], at_least: int, within: str) -> None:
        if at_least < 1:
            raise AlertConfigError(f"rate {name!r}: at_least={at_least} must be 1 or more")
        self.name = name
        self.matchers = Matchers(matchers)
        self.at_least = at_least
        self.within = duration_us(within)

    def __str__(self) -> str:
        return self.name


ANY = RateRule("any", [], 1, "1s")


class Rates:
    """The first rule that matches an anomaly counts it; without one, one anomaly is enough."""

    def __init__(self, rules: Sequence[RateRule]) -> None:
        names = [r.name for r in rules]
        if len(set(names)) < len(names) or ANY.name in names:
            raise AlertConfigError(f"rates need names of their own, and not 'any': {names}")
        self._rules = list(rules)

    def rule(self, labels: Labels) -> RateRule:
        return next((r for r in self._rules if r.matchers.matches(labels)), ANY)
