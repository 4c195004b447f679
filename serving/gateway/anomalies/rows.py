"""Anomalies as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reasons(fields: Mapping[str, Mapping[str, Any]], most: int | None = None) -> list[Any]:
    """The fields that contributed, the greatest contribution first."""
    moved: list[dict[str, Any]] = [
        {"field": name, **{key: told.get(key) for key in ("value", "expected", "contribution")}}
        for name, told in fields.items()
        if (told.get("contribution") or 0.0) > 0.0
    ]
    moved.sort(key=lambda reason: -reason["contribution"])
    return moved[:most]


def moment(microseconds: int) -> str:
    """ISO 8601 in UTC."""
    at = _EPOCH + timedelta(microseconds=microseconds)
    return at.isoformat().replace("+00:00", "Z")


def anomaly(row: sa.RowMapping) -> dict[str, Any]:
    """A row of the store's `anomalies`."""
    return {
        "id": row["id"],
        "source": row["source"],
        "timestamp": moment(row["timestamp"]),
        "detected_at": moment(row["detected_at"]),
        "status": row["status"],
        "severity": row["severity"],
        "score": row["score"],
        "threshold": row["threshold"],
        "reasons": reasons(row["fields"] or {}),
        "failure": row["reason"],
        "model": row["model"],
        "version": row["version"],
    }


def verdict(row: sa.RowMapping) -> dict[str, Any]:
    """A row of the store's `anomaly_verdicts`."""
    return {
        "verdict": row["verdict"],
        "reason": row["reason"],
        "who": row["who"],
        "at": moment(row["at"]),
    }
