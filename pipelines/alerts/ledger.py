"""The alerts' rows: who has the turn, what is open, what happened, what is to be sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.alert import Alert
from pipelines.alerts.finding import Finding
from pipelines.alerts.message import Message
from pipelines.alerts.tables import (
    ALERTS,
    CURSOR,
    HISTORY,
    MEMBERS,
    NOTIFICATIONS,
    OPEN,
    WAITING,
)
from pipelines.anomalies.store import ANOMALIES

_CURSOR = "alerts"
_CHUNK = 500  # values in one IN


def settled(engine: sa.Engine, known: int) -> int:
    """The sequence up to which every anomaly that will ever be there is there.

    Args:
        known: what this returned before; nobody is bothered while there is nothing newer.

    SQLite has one writer at a time. In PostgreSQL a transaction may commit after another that took
    later numbers; the lock waits for those that write, so that nothing appears behind a reader.
    """
    newest = sa.select(sa.func.coalesce(sa.func.max(ANOMALIES.c.sequence), 0))
    with engine.begin() as connection:
        found = int(connection.execute(newest).scalar_one())
    if found <= known or engine.dialect.name != "postgresql":
        return found
    with engine.begin() as connection:
        connection.execute(sa.text(f"LOCK TABLE {ANOMALIES.name} IN SHARE MODE"))
        return int(connection.execute(newest).scalar_one())


def begin_at(engine: sa.Engine, since: int, now: int) -> int | None:
    """Make the cursor, if there is none, before the first anomaly found since then.

    Returns:
        How many older anomalies are left out; None: the cursor was there.
    """
    older = sa.select(sa.func.coalesce(sa.func.max(ANOMALIES.c.sequence), 0), sa.func.count())
    try:
        with engine.begin() as connection:
            if connection.execute(sa.select(CURSOR.c.name)).first() is not None:
                return None
            sequence, count = connection.execute(older.where(ANOMALIES.c.detected_at < since)).one()
            values = {"name": _CURSOR, "sequence": sequence, "updated_at": now}
            connection.execute(sa.insert(CURSOR).values(values))
            return int(count)
    except sa.exc.IntegrityError:  # another process was first
        return None


def take_turn(connection: sa.Connection, now: int) -> int:
    """Be the only one who changes alerts until the commit; the cursor."""
    mine = sa.update(CURSOR).where(CURSOR.c.name == _CURSOR)
    connection.execute(mine.values(updated_at=now))
    return int(connection.execute(sa.select(CURSOR.c.sequence)).scalar_one_or_none() or 0)


def move_cursor(connection: sa.Connection, sequence: int) -> None:
    connection.execute(sa.update(CURSOR).values(sequence=sequence))


def unread(connection: sa.Connection, after: int, until: int, most: int) -> list[Finding]:
    """The next anomalies, in order."""
    query = (
        sa.select(ANOMALIES)
        .where(ANOMALIES.c.sequence > after, ANOMALIES.c.sequence <= until)
        .order_by(ANOMALIES.c.sequence)
        .limit(most)
    )
    return [Finding(**row._mapping) for row in connection.execute(query)]


def concerned(connection: sa.Connection, keys: Collection[str], now: int) -> list[Alert]:
    """Open alerts of these groups, and those with something due."""
    found: dict[int, Alert] = {}
    is_open = ALERTS.c.status.in_(OPEN)
    listed = list(keys)
    conditions: list[Any] = [ALERTS.c.due_at <= now]
    for start in range(0, len(listed), _CHUNK):
        conditions.append(ALERTS.c.key.in_(listed[start : start + _CHUNK]))
    for condition in conditions:
        for row in connection.execute(sa.select(ALERTS).where(is_open, condition)):
            found.setdefault(row.id, Alert.of(row))
    return list(found.values())


def create(connection: sa.Connection, alert: Alert) -> None:
    """Give it an id."""
    done = connection.execute(sa.insert(ALERTS).values(alert.values()))
    assert done.inserted_primary_key is not None
    alert.id = int(done.inserted_primary_key[0])


def save(connection: sa.Connection, alert: Alert) -> None:
    connection.execute(sa.update(ALERTS).where(ALERTS.c.id == alert.id).values(alert.values()))


def add_members(connection: sa.Connection, members: list[dict[str, Any]]) -> None:
    if members:
        connection.execute(sa.insert(MEMBERS), members)


def counted(connection: sa.Connection, alert: int, rate: str, within: int) -> int:
    """The most unsuppressed anomalies that a rule counted within any such stretch of event time."""
    query = (
        sa.select(MEMBERS.c.timestamp)
        .where(MEMBERS.c.alert == alert, MEMBERS.c.rate == rate, MEMBERS.c.suppressed_by.is_(None))
        .order_by(MEMBERS.c.timestamp)
    )
    times = list(connection.execute(query).scalars())
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] > within:
            first += 1
        most = max(most, last - first + 1)
    return most


def remember(
    connection: sa.Connection,
    alert: int,
    now: int,
    what: str,
    text: str,
    rule: str = "",
    count: int = 1,
) -> None:
    """Into the alert's history; what only happens once more is counted where it stands."""
    last = connection.execute(
        sa.select(HISTORY).where(HISTORY.c.alert == alert).order_by(HISTORY.c.id.desc()).limit(1)
    ).first()
    if last is not None and rule and (last.what, last.rule) == (what, rule):
        again = sa.update(HISTORY).where(HISTORY.c.id == last.id)
        connection.execute(
            again.values(count=last._mapping["count"] + count, last_at=now, text=text)
        )
        return
    row = {"alert": alert, "at": now, "last_at": now, "what": what, "rule": rule}
    connection.execute(sa.insert(HISTORY).values(**row, text=text, count=count))


def enqueue(connection: sa.Connection, alert: Alert, route: str, message: Message) -> None:
    """To be sent; the key is the same however often this is tried."""
    connection.execute(
        sa.insert(NOTIFICATIONS).values(
            key=f"millrace-{alert.id}-{alert.notifications}-{message.reason}-{route}",
            alert=alert.id,
            route=route,
            reason=message.reason,
            message=message.as_json(),
            status=WAITING,
            attempts=0,
            created_at=message.at,
            next_at=message.at,
        )
    )
