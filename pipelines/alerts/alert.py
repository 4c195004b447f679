"""One alert: what belongs together and is told together, from its first anomaly to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.finding import Finding
from pipelines.alerts.tables import ALERTS, FIRING, OPEN, PENDING
from pipelines.anomalies.store import SEVERITIES

_MOST = 200  # of sources and fields remembered: an alert on everything must not grow for ever


@dataclass
class Memory:
    """What an alert must know to go on; JSON in its row."""

    sources: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # fingerprints of what was notified
    fresh: list[str] = field(default_factory=list)  # and of what was not yet
    told_severity: str | None = None
    past_severities: list[str] = field(default_factory=list)  # under which it was told before
    routes: list[str] = field(default_factory=list)  # that were told of it
    worst: dict[str, Any] | None = None  # anomaly since it was told last; see Finding.facts
    worst_weight: tuple[int, float] | None = None
    last: dict[str, Any] | None = None  # what was told last
    patience: int = 0  # microseconds that its rate rules look over
    held_until: int = 0  # nothing is told before: a silence or window covers all of it


@dataclass
class Alert:
    """A row of `alerts`; the columns are explained there."""

    key: str
    kind: str
    labels: dict[str, str]
    started_at: int
    last_seen_at: int
    severity: str = SEVERITIES[0]
    status: str = PENDING
    anomalies: int = 0
    suppressed: int = 0
    notifications: int = 0
    escalation: int = 0
    notify_at: int | None = None
    fired_at: int | None = None
    notified_at: int | None = None
    ended_at: int | None = None
    due_at: int | None = None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    acknowledged_why: str | None = None
    memory: Memory = field(default_factory=Memory)
    id: int = 0

    @classmethod
    def of(cls, row: sa.Row[Any]) -> Alert:
        values = dict(row._mapping)
        return cls(**{**values, "memory": Memory(**values["memory"])})

    def values(self) -> dict[str, Any]:
        """The row."""
        columns = {c.name: getattr(self, c.name) for c in ALERTS.c if c.name != "id"}
        return {**columns, "memory": vars(self.memory)}

    @property
    def open(self) -> bool:
        return self.status in OPEN

    @property
    def firing(self) -> bool:
        return self.status == FIRING

    def take(
        self, finding: Finding, moved: list[str], fingerprint: str, quiet: bool, now: int, most: int
    ) -> bool:
        """Let an anomaly in; whether it tells what was told already.

        Args:
            moved: the fields that moved.
            quiet: a silence or window covers it: it counts, but is not told.
            most: fields told of.
        """
        memory = self.memory
        self.anomalies += 1
        self.last_seen_at = now
        _remember(memory.sources, [finding.source])
        if quiet:
            self.suppressed += 1
            return False
        _remember(memory.fields, moved)
        self.raise_to(finding.severity)
        weight = finding.weight
        if memory.worst_weight is None or weight >= tuple(memory.worst_weight):
            memory.worst, memory.worst_weight = finding.facts(most), weight
        if fingerprint in memory.told:
            return True
        _remember(memory.fresh, [fingerprint])
        return False

    def raise_to(self, severity: str) -> None:
        self.severity = max(self.severity, severity, key=SEVERITIES.index)

    @property
    def risen(self) -> bool:
        """Graver than what was told."""
        told = self.memory.told_severity
        return told is not None and told != self.severity

    def labelled(self) -> dict[str, list[str]]:
        """What matchers see of it."""
        model, _, version = str(
            (self.memory.worst or self.memory.last or {}).get("model", "")
        ).partition(" ")
        return {
            "kind": [self.kind],
            "source": self.memory.sources,
            "severity": [self.severity],
            "field": self.memory.fields,
            "model": [model],
            "version": [version],
        }

    def begin_to_tell(self) -> None:
        """A severity under which it was told, and is not any more, is one of the past."""
        if self.memory.told_severity and self.risen:
            _remember(self.memory.past_severities, [self.memory.told_severity])

    def was_told(self, now: int, routes: list[str]) -> None:
        """Bookkeeping after its notifications were written."""
        memory = self.memory
        self.notified_at = now
        self.notifications += 1
        memory.told_severity = self.severity
        _remember(memory.told, memory.fresh)
        _remember(memory.routes, routes)
        memory.fresh = []
        if memory.worst is not None:
            memory.last = memory.worst
        memory.worst = memory.worst_weight = None


def _remember(known: list[str], new: list[str]) -> None:
    """Append what is not there, up to a bound."""
    known += [n for n in dict.fromkeys(new) if n not in known]
    del known[: max(0, len(known) - _MOST)]
