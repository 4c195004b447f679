"""Short ways to fill an anomaly store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pipelines.anomalies.store import ANOMALIES, VERDICTS, event_id

HOUR = 3_600_000_000  # microseconds


def found(engine: sa.Engine, source: str, timestamp: int, **more: Any) -> str:
    """Store an anomaly; returns its id."""
    row = {
        "id": event_id(source, timestamp),
        "source": source,
        "timestamp": timestamp,
        "detected_at": timestamp + 1000,
        "status": "anomaly",
        "severity": "warning",
        "score": 4.0,
        "threshold": 3.0,
        "fields": {
            "cpu": {"value": 97.0, "expected": 40.0, "contribution": 3.5},
            "memory": {"value": None, "expected": 50.0, "contribution": 0.5},
        },
        "model": "anomaly",
        "version": "1",
    }
    with engine.begin() as connection:
        connection.execute(ANOMALIES.insert().values(row | more))
    return str((row | more)["id"])


def judge(engine: sa.Engine, anomaly: str, verdict: str, **more: Any) -> None:
    row = {"anomaly": anomaly, "verdict": verdict, "who": "ada", "at": 5, "reason": None}
    with engine.begin() as connection:
        connection.execute(VERDICTS.insert().values(row | more))
