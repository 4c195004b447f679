"""What people said of anomalies, the last word of each: one query that labels and figures share."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.anomalies.store import ANOMALIES, VERDICTS


def last_verdicts() -> sa.Subquery:
    """One row for each anomaly that anybody judged: `anomaly, verdict, reason, who, at`."""
    last = (
        sa.select(sa.func.max(VERDICTS.c.sequence).label("sequence"))
        .group_by(VERDICTS.c.anomaly)
        .subquery()
    )
    columns = [VERDICTS.c[name] for name in ("anomaly", "verdict", "reason", "who", "at")]
    joined = VERDICTS.join(last, VERDICTS.c.sequence == last.c.sequence)
    return sa.select(*columns).select_from(joined).subquery("last_verdicts")


def between(since: int | None, until: int | None) -> list[sa.ColumnElement[bool]]:
    """Conditions on an event's time: microseconds since 1970 UTC, `until` not included."""
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions.append(ANOMALIES.c.timestamp >= since)
    if until is not None:
        conditions.append(ANOMALIES.c.timestamp < until)
    return conditions
