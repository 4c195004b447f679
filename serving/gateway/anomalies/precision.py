"""How many of the anomalies that people looked at were right, as JSON."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pipelines.anomalies.precision import Precision, precision
from serving.gateway.anomalies.rows import moment

_GROUPS = ("source", "severity", "version", "day")
_MOST = 1000  # groups of one kind, those with most alarms first: sources may be many
_NONE = Precision({}, 0, 0, 0, None, None, None)


def answer(connection: sa.Connection, since: int | None, until: int | None) -> dict[str, Any]:
    """Of all alarms with an event time in [since, until), and by source, severity, version, day.

    `open` ones have no verdict, and a precision of none is null. See
    `pipelines.anomalies.precision` for what counts.
    """
    [overall] = precision(connection, since, until) or [_NONE]
    by = {
        name: [
            {name: _shown(name, row.group[name]), **_figures(row)}
            for row in precision(connection, since, until, [name])[:_MOST]
        ]
        for name in _GROUPS
    }
    return {"overall": _figures(overall), "by": by}


def _shown(name: str, value: str | int) -> str:
    return moment(int(value))[:10] if name == "day" else str(value)


def _figures(row: Precision) -> dict[str, Any]:
    return {
        "anomalies": row.confirmed + row.dismissed + row.unjudged,
        "confirmed": row.confirmed,
        "dismissed": row.dismissed,
        "open": row.unjudged,
        "precision": row.precision,
    }
