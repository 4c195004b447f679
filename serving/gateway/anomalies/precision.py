"""How many of the anomalies that people looked at were right."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pipelines.anomalies.store import ANOMALIES, CONFIRMED, DISMISSED, VERDICTS
from serving.gateway.anomalies.query import judged
from serving.gateway.anomalies.rows import moment

_DAY = 86_400_000_000  # microseconds
_MOST = 1000  # groups of one kind, those with most verdicts first: sources may be many

_GROUPS: dict[str, sa.ColumnElement[Any]] = {
    "source": ANOMALIES.c.source,
    "severity": ANOMALIES.c.severity,
    "version": ANOMALIES.c.version,
    "day": ANOMALIES.c.timestamp - ANOMALIES.c.timestamp % _DAY,
}


def precision(
    connection: sa.Connection, conditions: list[sa.ColumnElement[bool]]
) -> dict[str, Any]:
    """confirmed / (confirmed + dismissed), of all and by source, severity, version and UTC day.

    The newest verdict of an anomaly counts; `open` ones have none, and a precision of none of them
    is null.
    """
    total = connection.execute(_counted().where(*conditions)).mappings().one()
    answer: dict[str, Any] = {"overall": _figures(total), "by": {}}
    for name, column in _GROUPS.items():
        query = (
            _counted(column.label("group"))
            .where(*conditions)
            .group_by(sa.literal_column('"group"'))
            .order_by(sa.desc("said"), sa.literal_column('"group"'))
            .limit(_MOST)
        )
        answer["by"][name] = [
            {name: moment(row["group"])[:10] if name == "day" else row["group"], **_figures(row)}
            for row in connection.execute(query).mappings()
        ]
    return answer


def _counted(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    said = VERDICTS.c.verdict
    return sa.select(
        *columns,
        sa.func.count().label("anomalies"),
        sa.func.count(said).label("said"),
        *(
            sa.func.count(sa.case((said == choice, 1))).label(choice)
            for choice in (CONFIRMED, DISMISSED)
        ),
    ).select_from(judged)


def _figures(row: sa.RowMapping) -> dict[str, Any]:
    confirmed, said = row[CONFIRMED], row["said"]
    return {
        "anomalies": row["anomalies"],
        "confirmed": confirmed,
        "dismissed": row[DISMISSED],
        "open": row["anomalies"] - said,
        "precision": confirmed / said if said else None,
    }
