"""How many of the alarms were right, by people's verdicts: one rule for all who tell it.

The newest verdict of an anomaly counts. What could not be scored is no alarm, and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from pipelines.anomalies.store import ANOMALIES, ANOMALY, CONFIRMED, DISMISSED
from pipelines.anomalies.verdicts import between, last_verdicts

_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
_Z = 1.959964  # of a 95 % interval

# What figures can be grouped by; `hour` is the hour of the day, UTC.
GROUPS: Mapping[str, sa.ColumnElement[object]] = {
    "source": ANOMALIES.c.source,
    "severity": ANOMALIES.c.severity,
    "model": ANOMALIES.c.model,
    "version": ANOMALIES.c.version,
    "day": ANOMALIES.c.timestamp - ANOMALIES.c.timestamp % _DAY_US,
    "hour": (ANOMALIES.c.timestamp % _DAY_US) // _HOUR_US,
}


class Precision(NamedTuple):
    """Of one group's anomalies.

    Args:
        group: a value for each of what it was grouped by; `day` is its first microsecond.
        unjudged: nobody has said anything yet.
        precision: confirmed among judged; None where none is judged.
        low, high: the 95 % interval of Wilson (JASA 1927): few verdicts give a wide one.
    """

    group: dict[str, str | int]
    confirmed: int
    dismissed: int
    unjudged: int
    precision: float | None
    low: float | None
    high: float | None


def precision(
    connection: sa.Connection,
    since: int | None = None,
    until: int | None = None,
    by: Sequence[str] = (),
) -> list[Precision]:
    """Figures of the anomalies with an event time in [since, until), the most alarms first.

    What is to review is no alarm and not counted.

    Args:
        since, until: microseconds since 1970 UTC; None: no bound.
        by: names of `GROUPS`; none: one row for all, or none where there are no anomalies.

    Raises:
        ValueError: an unknown group; the text lists the known.
    """
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise ValueError(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    last = last_verdicts()
    columns = [GROUPS[name].label(f"group_{i}") for i, name in enumerate(by)]
    counts = [
        sa.func.count(sa.case((last.c.verdict == CONFIRMED, 1))),
        sa.func.count(sa.case((last.c.verdict == DISMISSED, 1))),
        sa.func.count(),
    ]
    query = (
        sa.select(*columns, *counts)
        .select_from(ANOMALIES.outerjoin(last, last.c.anomaly == ANOMALIES.c.id))
        .where(ANOMALIES.c.status == ANOMALY, *between(since, until))
        .group_by(*columns)
    )
    rows = connection.execute(query).all()
    found = [_of(by, tuple(row)) for row in rows]
    found = [f for f in found if f.confirmed + f.dismissed + f.unjudged]
    return sorted(found, key=lambda f: (-(f.confirmed + f.dismissed + f.unjudged), str(f.group)))


def _of(by: Sequence[str], row: tuple[Any, ...]) -> Precision:
    group = dict(zip(by, row, strict=False))
    confirmed, dismissed, total = row[len(by) :]
    judged = confirmed + dismissed
    share, low, high = wilson(confirmed, judged) if judged else (None, None, None)
    return Precision(group, confirmed, dismissed, total - judged, share, low, high)


def wilson(hits: int, trials: int, z: float = _Z) -> tuple[float, float, float]:
    """A share and its interval; `trials` is at least 1."""
    share = hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials)
    reach *= math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return share, max(0.0, centre - reach), min(1.0, centre + reach)
