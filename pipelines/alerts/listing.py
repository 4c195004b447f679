"""What there is, as rows for people: alerts, their history, notifications, silences, windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.alert import Alert
from pipelines.alerts.clock import Clock
from pipelines.alerts.errors import AlertCommandError
from pipelines.alerts.quiet import Maintenance, Quiet, uses
from pipelines.alerts.schedule import zone_of
from pipelines.alerts.tables import ALERTS, DEAD, HISTORY, NOTIFICATIONS, SILENCES

Rows = list[dict[str, Any]]
_COUNTED = ("silence", "maintenance", "dedup")  # events whose count is of anomalies


class Listing:
    """See the module.

    Args:
        maintenance: windows of the config.
        zone: in which times are shown.
        limit: rows, the newest.
    """

    def __init__(
        self,
        store: sa.Engine,
        maintenance: Sequence[Maintenance],
        clock: Clock,
        zone: str,
        limit: int,
    ) -> None:
        self._store = store
        self._quiet = Quiet(maintenance)
        self._clock = clock
        self._zone = zone_of(zone)
        self._limit = limit

    def rows(self, what: str, id: int | None) -> Rows:
        """The rows of one kind; `history` is of one alert.

        Raises:
            AlertCommandError: no such kind, or no alert is named.
        """
        kinds: dict[str, Callable[[], Rows]] = {
            "alerts": self._alerts,
            "history": lambda: self._history(id),
            "notifications": lambda: self._notifications(None),
            "dead": lambda: self._notifications(DEAD),
            "silences": self._silences,
            "maintenance": self._maintenance,
        }
        if what not in kinds:
            raise AlertCommandError(f"cannot list {what!r}; there are {list(kinds)}")
        return kinds[what]()

    def _alerts(self) -> Rows:
        query = sa.select(ALERTS).order_by(ALERTS.c.id.desc()).limit(self._limit)
        with self._store.connect() as connection:
            alerts = [Alert.of(row) for row in connection.execute(query)]
        return [
            {
                "id": a.id,
                "status": a.status,
                "severity": a.severity if a.kind == "anomaly" else "to review",
                "group": ", ".join(v for n, v in a.labels.items() if n != "kind") or "all",
                "anomalies": a.anomalies,
                "quiet": a.suppressed,
                "since": self._time(a.started_at),
                "last": self._time(a.last_seen_at),
                "told": a.notifications,
                "acknowledged": a.acknowledged_by or "",
            }
            for a in alerts
        ]

    def _history(self, alert: int | None) -> Rows:
        if alert is None:
            raise AlertCommandError("history of which alert? alert.py list history 12")
        query = sa.select(HISTORY).where(HISTORY.c.alert == alert).order_by(HISTORY.c.id)
        with self._store.connect() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise AlertCommandError(f"no alert {alert}; see: alert.py list alerts")
        return [
            {
                "at": self._time(r.at),
                "what": r.what,
                "rule": r.rule,
                "anomalies": r._mapping["count"] if r.what in _COUNTED else "",
                "text": r.text,
                "until": self._time(r.last_at) if r.last_at > r.at else "",
            }
            for r in rows
        ]

    def _notifications(self, status: str | None) -> Rows:
        table = NOTIFICATIONS
        query = sa.select(table).order_by(table.c.id.desc()).limit(self._limit)
        if status is not None:
            query = query.where(table.c.status == status)
        with self._store.connect() as connection:
            rows = connection.execute(query).all()
        return [
            {
                "id": r.id,
                "alert": r.alert,
                "route": r.route,
                "reason": r.reason,
                "status": r.status,
                "attempts": r.attempts,
                "written": self._time(r.created_at),
                "finished": self._time(r.finished_at),
                "error": r.error or "",
                "response": r.response or "",
            }
            for r in rows
        ]

    def _silences(self) -> Rows:
        now = self._clock.now()
        query = sa.select(SILENCES).order_by(SILENCES.c.id.desc()).limit(self._limit)
        with self._store.connect() as connection:
            rows = connection.execute(query).all()
            counts = {r.id: uses(connection, f"silence {r.id}") for r in rows}
        return [
            {
                "id": r.id,
                "state": self._state(r.starts_at, r.ends_at, now),
                "matchers": ", ".join(r.matchers),
                "from": self._time(r.starts_at),
                "to": self._time(r.ends_at),
                "kept quiet": counts[r.id] or "nothing",
                "who": r.who,
                "why": r.why,
            }
            for r in rows
        ]

    def _maintenance(self) -> Rows:
        now = self._clock.now()
        with self._store.connect() as connection:
            windows = self._quiet.windows(connection)
            counts = [uses(connection, w.name) for w in windows]
        rows = []
        for window, count in zip(windows, counts, strict=True):
            span = window.schedule.next(now)
            rows.append(
                {
                    "name": window.title,
                    "state": self._state(*span, now) if span else "over",
                    "matchers": str(window.matchers),
                    "when": str(window.schedule),
                    "next": self._time(span.start) if span else "never",
                    "to": self._time(span.end) if span else "",
                    "kept quiet": count or "nothing",
                    "who": window.who,
                    "why": window.why,
                }
            )
        return rows

    @staticmethod
    def _state(start: int, end: int, now: int) -> str:
        return "over" if end <= now else "in force" if start <= now else "to come"

    def _time(self, us: int | None) -> str:
        return f"{datetime.fromtimestamp(us / 1e6, self._zone):%Y-%m-%d %H:%M:%S}" if us else ""
