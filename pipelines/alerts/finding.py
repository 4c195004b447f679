"""An anomaly as the alerts see it: its labels, and which fields moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from pipelines.anomalies.store import SEVERITIES


class Moved(NamedTuple):
    """One field's part in an anomaly.

    Args:
        value: as it came; None: missing.
        expected: as the model would have it.
        share: of the score, 0 to 1.
    """

    field: str
    value: float | None
    expected: float | None
    share: float


@dataclass(frozen=True)
class Finding:
    """A row of the store's `anomalies`."""

    sequence: int
    id: str
    source: str
    timestamp: int  # of the event, microseconds
    detected_at: int
    status: str
    severity: str
    score: float | None
    threshold: float | None
    fields: Mapping[str, Mapping[str, float | None]]
    reason: str | None
    model: str
    version: str

    @cached_property
    def parts(self) -> list[Moved]:
        """All fields, the largest contribution first."""
        parts = {f: max(0.0, float(d.get("contribution") or 0)) for f, d in self.fields.items()}
        total = sum(parts.values()) or 1.0
        rows = [
            Moved(
                name, self.fields[name].get("value"), self.fields[name].get("expected"), c / total
            )
            for name, c in parts.items()
        ]
        return sorted(rows, key=lambda m: (-m.share, m.field))

    def moved(self, least_share: float) -> list[Moved]:
        """The fields that made it an anomaly: the first, and those with a share that counts."""
        return [
            m for i, m in enumerate(self.parts) if m.share and (i == 0 or m.share >= least_share)
        ]

    def labels(self, least_share: float) -> dict[str, list[str]]:
        """What matchers see."""
        return {
            "kind": [self.status],
            "source": [self.source],
            "severity": [self.severity],
            "field": [m.field for m in self.moved(least_share)],
            "model": [self.model],
            "version": [self.version],
        }

    @property
    def weight(self) -> tuple[int, float]:
        """The graver anomaly has the larger one."""
        return SEVERITIES.index(self.severity), self.score or 0.0

    def facts(self, most_fields: int) -> dict[str, Any]:
        """What a message tells of it."""
        return {
            "id": self.id,
            "source": self.source,
            "timestamp": self.timestamp,
            "severity": self.severity,
            "score": self.score,
            "threshold": self.threshold,
            "reason": self.reason,
            "model": f"{self.model} {self.version}",
            "moved": [list(m) for m in self.parts[:most_fields] if m.share],
            "more": sum(1 for m in self.parts[most_fields:] if m.share),
        }
