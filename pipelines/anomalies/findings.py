"""What a batch of events came to: records of all of it, and rows of what alarmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.anomalies.journal import Record
from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.store import event_id
from pipelines.anomalies.telemetry_reader import Events, Refused


@dataclass
class Findings:
    """By partition: records for the journal, rows of `ANOMALIES`; and what was counted."""

    records: dict[int, Record] = field(default_factory=dict)
    anomalies: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    letters: list[Refused] = field(default_factory=list)
    events: int = 0
    late: int = 0
    duplicates: int = 0
    new_sources: int = 0
    to_review: int = 0


def row(model: AnomalyModel, events: Events, n: int, now_us: int, **told: Any) -> dict[str, Any]:
    """A row of `ANOMALIES` about the n-th event."""
    source, time_us = events.source[n], int(events.time_us[n])
    return {
        "id": events.id[n] or event_id(source, time_us),
        "source": source,
        "timestamp": time_us,
        "detected_at": now_us,
        "model": model.name,
        "version": model.version,
        "reason": None,
        **told,
    }


def told_fields(
    model: AnomalyModel,
    values: NDArray[np.float32],
    expected: NDArray[np.float32] | None = None,
    contributions: NDArray[np.float32] | None = None,
) -> dict[str, dict[str, float | None]]:
    """The column `fields` of a row."""
    nothing: Sequence[float | None] = [None] * len(values)
    told = [
        _numbers(part) if part is not None else nothing
        for part in (values, expected, contributions)
    ]
    return {
        name: {"value": v, "expected": e, "contribution": c}
        for name, v, e, c in zip(model.fields, *told, strict=True)
    }


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    """As JSON has them: NaN is null; no more digits than 32 bits hold."""
    return [None if not np.isfinite(v) else float(f"{v:.7g}") for v in values]
