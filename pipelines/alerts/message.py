"""What a notification says: facts that were fixed when it was written, JSON in its row."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.alert import Alert
from pipelines.alerts.duration import shown
from pipelines.alerts.finding import Moved
from pipelines.anomalies.store import ANOMALIES, ANOMALY, SEVERITIES, TO_REVIEW

FIRED, UPDATED, REPEATED = "fired", "updated", "repeated"
ESCALATED, RESOLVED, TEST = "escalated", "resolved", "test"
REASONS = (FIRED, UPDATED, REPEATED, ESCALATED, RESOLVED)
HOUR = 3_600_000_000
_SUBJECT = 78  # characters: what RFC 5322 recommends, and a phone's lock screen shows


@dataclass(frozen=True)
class Message:
    """See the module.

    Args:
        worst: the gravest anomaly since the alert was told last; see `Finding.facts`.
        hour: severity or "to_review" → anomalies of these sources in the hour before `at`.
    """

    alert: int
    reason: str
    kind: str
    severity: str
    labels: dict[str, str]
    sources: list[str]
    fields: list[str]
    started_at: int
    fired_at: int
    at: int
    anomalies: int
    suppressed: int
    worst: dict[str, Any]
    hour: dict[str, int]
    note: str = ""
    past_severities: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, alert: Alert, reason: str, now: int, hour: dict[str, int], note: str) -> Message:
        memory = alert.memory
        return cls(
            alert=alert.id,
            reason=reason,
            kind=alert.kind,
            severity=alert.severity,
            labels=alert.labels,
            sources=list(memory.sources),
            fields=list(memory.fields),
            started_at=alert.started_at,
            fired_at=alert.fired_at or now,
            at=now,
            anomalies=alert.anomalies,
            suppressed=alert.suppressed,
            worst=memory.worst or memory.last or {},
            hour=hour,
            note=note,
            past_severities=list(memory.past_severities),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def moved(self) -> list[Moved]:
        """Fields of the worst anomaly, the largest contribution first."""
        return [Moved(*m) for m in self.worst.get("moved", [])]

    @property
    def where(self) -> str:
        """The sources, in few words."""
        source = self.worst.get("source") or (self.sources or ["?"])[0]
        others = len(self.sources) - 1
        return str(source) + (f" +{others}" if others > 0 else "")

    @property
    def mark(self) -> str:
        """The word in brackets that a subject begins with."""
        if self.reason == RESOLVED:
            return "RESOLVED"
        word = "TO REVIEW" if self.kind == TO_REVIEW else self.severity.upper()
        return f"ESCALATED {word}" if self.reason == ESCALATED else word

    @property
    def subject(self) -> str:
        """One line that tells all on a phone: how grave, where, what moved."""
        parts = [f"[{self.mark}] {_line(self.where, 30)}"]
        if self.reason == RESOLVED:
            parts.append(f": over after {shown(self.at - self.fired_at)}")
        elif self.kind == TO_REVIEW:
            parts.append(f": {_count(self.anomalies, 'event')} not scored")
        elif self.moved:
            first = self.moved[0]
            value = "missing" if first.value is None else number(first.value)
            parts.append(f": {_line(first.field, 20)} {value}")
            if first.expected is not None:
                parts.append(f", expected {number(first.expected)}")
        if self.reason != RESOLVED and self.kind == ANOMALY and self.anomalies > 1:
            parts.append(f" · {self.anomalies} anomalies")
        if self.reason == REPEATED:
            parts.append(" · still")
        return _line("".join(parts), _SUBJECT)


def last_hour(connection: sa.Connection, sources: list[str], now: int) -> dict[str, int]:
    """Severity or "to_review" → how many of these sources' anomalies the hour before `now` had."""
    kind = sa.case((ANOMALIES.c.status == TO_REVIEW, TO_REVIEW), else_=ANOMALIES.c.severity)
    query = (
        sa.select(kind, sa.func.count())
        .where(
            ANOMALIES.c.source.in_(sources),
            ANOMALIES.c.timestamp > now - HOUR,
            ANOMALIES.c.timestamp <= now,
        )
        .group_by(kind)
    )
    found = {str(name): int(n) for name, n in connection.execute(query)}
    return {s: found[s] for s in (*reversed(SEVERITIES), TO_REVIEW) if s in found}


def number(value: float) -> str:
    """Four significant digits, and no exponent where people would write none.

    >>> number(1234567.0), number(0.12345), number(87.0)
    ('1234567', '0.1235', '87')
    """
    if abs(value) >= 1000 and abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.4g}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _line(text: str, most: int) -> str:
    """One line without control characters: what comes from outside must not make headers."""
    clean = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"
