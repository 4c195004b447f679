"""Questions to the anomaly store: what was found, when, where, how grave, and what people said."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from pipelines.anomalies.store import (
    ANOMALIES,
    ANOMALY,
    CONFIRMED,
    DISMISSED,
    SEVERITIES,
    TO_REVIEW,
    VERDICTS,
)
from pipelines.anomalies.verdicts import between
from serving.gateway.anomalies.events import microseconds
from serving.gateway.anomalies.rows import anomaly, verdict
from serving.gateway.problems import Problem

NONE = "none"  # nobody has said anything yet
VERDICT_CHOICES = (CONFIRMED, DISMISSED, NONE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERIOD = ("since", "until")
_NAMES = (*_PERIOD, "source", "severity", "verdict", "status", "limit", "cursor")
_MOMENT = "a UTC day (2026-01-31) or a moment with its zone (2026-01-31T12:00:00Z)"

# The number of the newest verdict on each anomaly.
newest_verdict = (
    sa.select(VERDICTS.c.sequence)
    .where(VERDICTS.c.anomaly == ANOMALIES.c.id)
    .order_by(VERDICTS.c.sequence.desc())
    .limit(1)
    .correlate(ANOMALIES)
    .scalar_subquery()
)
judged = sa.outerjoin(ANOMALIES, VERDICTS, VERDICTS.c.sequence == newest_verdict)


class Page(NamedTuple):
    """Some anomalies, the newest first; `cursor` asks for the next ones, None: there are none."""

    anomalies: list[dict[str, Any]]
    cursor: str | None


class AnomalyQuery(NamedTuple):
    """Which anomalies.

    Args:
        conditions: all of them hold.
        after: timestamp and sequence of the last anomaly of the page before.
    """

    conditions: list[sa.ColumnElement[bool]]
    after: tuple[int, int] | None
    limit: int

    @classmethod
    def parse(cls, given: Mapping[str, str], default: int, most: int) -> AnomalyQuery:
        """From a query string.

        Raises:
            Problem: 422 that names the parameter, its value and what is accepted.
        """
        known(given, _NAMES)
        conditions = between(*period(given))
        if given.get("source"):
            conditions.append(ANOMALIES.c.source == given["source"])
        for name, choices in (("severity", SEVERITIES), ("status", (ANOMALY, TO_REVIEW))):
            if given.get(name):
                conditions.append(ANOMALIES.c[name].in_(_some(name, given[name], choices)))
        if given.get("verdict"):
            wanted = _some("verdict", given["verdict"], VERDICT_CHOICES)
            conditions.append(sa.func.coalesce(VERDICTS.c.verdict, NONE).in_(wanted))
        text = given.get("limit") or str(min(default, most))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
            raise invalid("limit", text, f"a whole number from 1 to {most}")
        return cls(conditions, _after(given.get("cursor")), int(text))

    def run(self, connection: sa.Connection) -> Page:
        """The answer; one more than asked for is read, to know whether there is more."""
        order = (ANOMALIES.c.timestamp, ANOMALIES.c.sequence)
        query = (
            sa.select(ANOMALIES, VERDICTS.c.sequence.label("judged"))
            .select_from(judged)
            .where(*self.conditions)
            .order_by(*(column.desc() for column in order))
            .limit(self.limit + 1)
        )
        if self.after is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, self.after)))
        rows = connection.execute(query).mappings().all()
        said = _verdicts(connection, [r["judged"] for r in rows if r["judged"] is not None])
        shown = rows[: self.limit]
        found = [{**anomaly(row), "verdict": said.get(row["judged"])} for row in shown]
        more = len(rows) > self.limit
        return Page(found, _cursor(shown[-1]) if more else None)


def period(given: Mapping[str, str]) -> tuple[int | None, int | None]:
    """`since` and `until` in microseconds since 1970 UTC; None where they are not given.

    Raises:
        Problem: 422.
    """
    since, until = (_moment(n, given[n]) if given.get(n) else None for n in _PERIOD)
    return since, until


def known(given: Mapping[str, str], names: tuple[str, ...] = _PERIOD) -> None:
    """Refuse parameters that do not exist: a filter with a slip of the pen would let all through.

    Raises:
        Problem: 422.
    """
    for name in given:
        if name not in names:
            raise invalid("parameter", name, ", ".join(names))


def invalid(name: str, value: str, accepted: str) -> Problem:
    return Problem(422, "invalid-query", f"{name} is {value[:80]!r}", accepted=accepted)


def _some(name: str, text: str, choices: tuple[str, ...]) -> list[str]:
    wanted = text.split(",")
    for one in wanted:
        if one not in choices:
            raise invalid(name, one, f"one or several, with commas, of {', '.join(choices)}")
    return wanted


def _moment(name: str, value: str) -> int:
    try:
        if len(value) == len("2026-01-31"):
            at = datetime.fromisoformat(value).replace(tzinfo=UTC)
        else:
            # the plus sign of a zone that was not escaped arrives as a space
            at = datetime.fromisoformat(value.replace(" ", "+"))
            if at.tzinfo is None:
                raise invalid(name, value, _MOMENT)
        return microseconds(at.astimezone(UTC) - _EPOCH)
    except (ValueError, OverflowError) as error:
        raise invalid(name, value, _MOMENT) from error


def _cursor(row: sa.RowMapping) -> str:
    place = json.dumps([row["timestamp"], row["sequence"]]).encode()
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _after(cursor: str | None) -> tuple[int, int] | None:
    if not cursor:
        return None
    try:
        timestamp, sequence = json.loads(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        )
        place = int(timestamp), int(sequence)
        if not all(abs(n) < 2**63 for n in place):
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise invalid("cursor", cursor, "the `cursor` of the answer before") from error
    return place


def _verdicts(connection: sa.Connection, sequences: list[int]) -> dict[int, dict[str, Any]]:
    if not sequences:
        return {}
    rows = connection.execute(VERDICTS.select().where(VERDICTS.c.sequence.in_(sequences)))
    return {row["sequence"]: verdict(row) for row in rows.mappings()}
