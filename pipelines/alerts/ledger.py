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


def concerned(connection: sa.Connection, keys: Collection[str], now: int, most: int) -> list[Alert]:
    """Open alerts of these groups, and those with something due, the longest due first."""
    found: dict[int, Alert] = {}
    is_open = ALERTS.c.status.in_(OPEN)
    listed = list(keys)
    conditions: list[Any] = [ALERTS.c.due_at <= now]
    for start in range(0, len(listed), _CHUNK):
        conditions.append(ALERTS.c.key.in_(listed[start : start + _CHUNK]))
    for condition in conditions:
        query = sa.select(ALERTS).where(is_open, condition).order_by(ALERTS.c.due_at)
        if condition is conditions[0]:
            query = query.limit(most)
        for row in connection.execute(query):
            found.setdefault(row.id, Alert.of(row))
    return list(found.values())


def create(connection: sa.Connection, alerts: list[Alert]) -> None:
    """Give them their ids."""
    if alerts:
        insert = sa.insert(ALERTS).returning(ALERTS.c.id, sort_by_parameter_order=True)
        ids = connection.execute(insert, [a.values() for a in alerts]).scalars()
        for alert, id in zip(alerts, ids, strict=True):
            alert.id = id


def save(connection: sa.Connection, alerts: list[Alert]) -> None:
    if alerts:
        update = sa.update(ALERTS).where(ALERTS.c.id == sa.bindparam("its_id"))
        connection.execute(update, [{**a.values(), "its_id": a.id} for a in alerts])


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


class Diary:
    """What a turn adds to histories, written at once at its end.

    What only happens once more, by the same rule, is counted where it stands.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._notes: dict[int, list[dict[str, Any]]] = {}

    def note(self, alert: int, what: str, text: str, rule: str = "", count: int = 1) -> None:
        notes = self._notes.setdefault(alert, [])
        if notes and rule and (notes[-1]["what"], notes[-1]["rule"]) == (what, rule):
            notes[-1]["count"] += count
            notes[-1]["text"] = text
            return
        row = {"alert": alert, "at": self.now, "last_at": self.now}
        notes.append({**row, "what": what, "rule": rule, "text": text, "count": count})

    def write(self, connection: sa.Connection) -> None:
        fresh, again = [], []
        last = self._last(connection)
        for alert, (first, *others) in self._notes.items():
            before = last.get(alert)
            if before and first["rule"] and before[1:3] == (first["what"], first["rule"]):
                changed = {"text": first["text"], "count": before[3] + first["count"]}
                again.append({"its_id": before[0], "last_at": self.now, **changed})
                fresh += others
            else:
                fresh += [first, *others]
        if again:
            same = HISTORY.c.id == sa.bindparam("its_id")
            connection.execute(sa.update(HISTORY).where(same), again)
        if fresh:
            connection.execute(sa.insert(HISTORY), fresh)

    def _last(self, connection: sa.Connection) -> dict[int, tuple[Any, ...]]:
        """Alert → id, what, rule and count of its last row."""
        found: dict[int, tuple[Any, ...]] = {}
        alerts = list(self._notes)
        row = (HISTORY.c.id, HISTORY.c.what, HISTORY.c.rule, HISTORY.c.count)
        for start in range(0, len(alerts), _CHUNK):
            newest = (
                sa.select(sa.func.max(HISTORY.c.id))
                .where(HISTORY.c.alert.in_(alerts[start : start + _CHUNK]))
                .group_by(HISTORY.c.alert)
            )
            query = sa.select(HISTORY.c.alert, *row).where(HISTORY.c.id.in_(newest))
            found |= {r[0]: tuple(r[1:]) for r in connection.execute(query)}
        return found


def remember(connection: sa.Connection, alert: int, now: int, what: str, text: str) -> None:
    """One row of an alert's history."""
    diary = Diary(now)
    diary.note(alert, what, text)
    diary.write(connection)


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
