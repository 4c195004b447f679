"""What people do to alerts: acknowledge, silence, announce maintenance, send again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.clock import Clock
from pipelines.alerts.errors import AlertCommandError
from pipelines.alerts.finding import Finding
from pipelines.alerts.ledger import remember, take_turn
from pipelines.alerts.matchers import Matchers
from pipelines.alerts.schedule import Schedule, Span
from pipelines.alerts.tables import (
    ALERTS,
    DEAD,
    MAINTENANCE,
    NOTIFICATIONS,
    OPEN,
    SILENCES,
    WAITING,
)
from pipelines.anomalies.store import ANOMALIES

DAY = 86_400_000_000


class AlertCommands:
    """Each is one transaction, in turn with the engine's.

    Args:
        moved_share: as the engine's grouping has it.
        look_back_days: how far a new silence is tried on past anomalies.
    """

    def __init__(
        self, store: sa.Engine, clock: Clock, moved_share: float, look_back_days: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._moved_share = moved_share
        self._look_back = look_back_days * DAY

    def acknowledge(self, alert: int, who: str, why: str) -> None:
        """No repeats and no escalation any more; something new in it is still told.

        Raises:
            AlertCommandError: no such alert, it is over, or acknowledged already.
        """
        now = self._clock.now()
        with self._store.begin() as connection:
            take_turn(connection, now)
            row = connection.execute(sa.select(ALERTS).where(ALERTS.c.id == alert)).first()
            if row is None:
                raise AlertCommandError(f"no alert {alert}; see: alert.py list alerts")
            if row.status not in OPEN:
                raise AlertCommandError(f"alert {alert} is {row.status} already")
            if row.acknowledged_at:
                raise AlertCommandError(f"alert {alert}: {row.acknowledged_by} has it already")
            values = {"acknowledged_at": now, "acknowledged_by": who, "acknowledged_why": why}
            connection.execute(sa.update(ALERTS).where(ALERTS.c.id == alert).values(values))
            remember(connection, alert, now, "acknowledged", f"by {who}: {why}")

    def silence(self, matchers: Sequence[str], span: Span, who: str, why: str) -> tuple[int, int]:
        """Keep matching anomalies quiet; its number, and how many of the last days it would match.

        Raises:
            AlertCommandError: it matches everything, or could never apply.
        """
        now = self._clock.now()
        checked = Matchers(matchers)
        if not checked.texts:
            raise AlertCommandError(
                "a silence without a matcher would keep everything quiet; give source=, severity=, "
                "field=, kind= or matchers="
            )
        if span.end <= max(span.start, now):
            raise AlertCommandError("this silence would never apply: it ends before it begins")
        with self._store.begin() as connection:
            take_turn(connection, now)
            done = connection.execute(
                sa.insert(SILENCES).values(
                    matchers=checked.texts,
                    starts_at=span.start,
                    ends_at=span.end,
                    who=who,
                    why=why,
                    created_at=now,
                    reported=False,
                )
            )
            assert done.inserted_primary_key is not None
            return int(done.inserted_primary_key[0]), self._tried(connection, checked, now)

    def unsilence(self, silence: int, who: str) -> None:
        """End a silence now.

        Raises:
            AlertCommandError: no such silence, or it is over.
        """
        now = self._clock.now()
        with self._store.begin() as connection:
            take_turn(connection, now)
            row = connection.execute(sa.select(SILENCES).where(SILENCES.c.id == silence)).first()
            if row is None:
                raise AlertCommandError(f"no silence {silence}; see: alert.py list silences")
            if row.removed_by or row.ends_at <= now:
                raise AlertCommandError(f"silence {silence} is over already")
            values: dict[str, Any] = {"removed_by": who, "ends_at": now}
            connection.execute(sa.update(SILENCES).where(SILENCES.c.id == silence).values(values))

    def announce(
        self, name: str, matchers: Sequence[str], schedule: Schedule, who: str, why: str
    ) -> tuple[Span, int]:
        """A maintenance window; its next opening, and how many past anomalies it is about.

        Raises:
            AlertCommandError: it is over already, or there is one of this name.
        """
        now = self._clock.now()
        checked = Matchers(matchers)
        span = schedule.next(now)
        if span is None:
            raise AlertCommandError(f"maintenance {name!r} would never apply: {schedule} is over")
        with self._store.begin() as connection:
            take_turn(connection, now)
            if connection.execute(sa.select(MAINTENANCE).where(MAINTENANCE.c.name == name)).first():
                raise AlertCommandError(f"there is maintenance {name!r}; choose another name")
            connection.execute(
                sa.insert(MAINTENANCE).values(
                    name=name,
                    matchers=checked.texts,
                    schedule=schedule.settings(),
                    who=who,
                    why=why,
                    created_at=now,
                )
            )
            return span, self._tried(connection, checked, now)

    def cancel(self, name: str) -> None:
        """No such window any more.

        Raises:
            AlertCommandError: there is none by command; those of the config are ended there.
        """
        with self._store.begin() as connection:
            take_turn(connection, self._clock.now())
            gone = connection.execute(sa.delete(MAINTENANCE).where(MAINTENANCE.c.name == name))
        if not gone.rowcount:
            raise AlertCommandError(f"no maintenance {name!r} was announced by command")

    def resend(self, notification: int | None) -> int:
        """Dead notifications wait for another try; how many.

        Raises:
            AlertCommandError: no such dead notification.
        """
        now = self._clock.now()
        again = sa.update(NOTIFICATIONS).where(NOTIFICATIONS.c.status == DEAD)
        if notification is not None:
            again = again.where(NOTIFICATIONS.c.id == notification)
        with self._store.begin() as connection:
            take_turn(connection, now)
            done = connection.execute(again.values(status=WAITING, attempts=0, next_at=now))
        if notification is not None and not done.rowcount:
            raise AlertCommandError(f"no dead notification {notification}")
        return int(done.rowcount)

    def _tried(self, connection: sa.Connection, matchers: Matchers, now: int) -> int:
        query = sa.select(ANOMALIES).where(ANOMALIES.c.timestamp > now - self._look_back)
        findings = (Finding(**r._mapping) for r in connection.execute(query))
        return sum(matchers.matches(f.labels(self._moved_share), ("field",)) for f in findings)
