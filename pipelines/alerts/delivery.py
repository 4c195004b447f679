"""The outbox is sent from here: each notification until it has arrived, or is given up for dead.

A notification is claimed before it is sent, and marked afterwards: a process that is killed in
between leaves it to the next one, which sends it again with the same key. Those of one alert on one
route go out in order; routes do not wait for one another.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa

from pipelines.alerts.alert import Alert
from pipelines.alerts.clock import Clock
from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import SendError
from pipelines.alerts.ledger import remember, take_turn
from pipelines.alerts.letter import Letter, Stationery
from pipelines.alerts.message import UPDATED, Message
from pipelines.alerts.metrics import AlertMetrics
from pipelines.alerts.route import Route
from pipelines.alerts.senders.sender import Receipt, Refreshing
from pipelines.alerts.tables import (
    ALERTS,
    DEAD,
    DRY_RUN,
    FIRING,
    LIMITED,
    NOTIFICATIONS,
    OPEN,
    SENT,
    WAITING,
)

log = logging.getLogger(__name__)

FAILED = "failed"


class Delivery:
    """See the module.

    Args:
        attempts: until a notification is dead.
        backoff, longest_backoff: waits after failures, doubling.
        lease: how long a claim holds; longer than any sender's timeout.
    """

    def __init__(
        self,
        store: sa.Engine,
        routes: Mapping[str, Route],
        stationery: Stationery,
        clock: Clock,
        metrics: AlertMetrics,
        attempts: int,
        backoff: str,
        longest_backoff: str,
        lease: str,
    ) -> None:
        self._store = store
        self._routes = dict(routes)
        self._stationery = stationery
        self._clock = clock
        self._metrics = metrics
        self._attempts = attempts
        self._backoff = duration_us(backoff)
        self._longest = duration_us(longest_backoff)
        self._lease = duration_us(lease)

    def open(self) -> None:
        """Give up, visibly, what waits for a route that there is no longer."""
        gone = sa.select(NOTIFICATIONS).where(
            NOTIFICATIONS.c.status == WAITING, NOTIFICATIONS.c.route.not_in(list(self._routes))
        )
        with self._store.connect() as connection:
            rows = connection.execute(gone).all()
        for row in rows:
            log.error("notification %d is given up: no route %r any more", row.id, row.route)
            self._finish(row, DEAD, "no such route any more")

    def run_once(self, route: str) -> bool:
        """Send the next notification of a route, if one is due; whether there was one."""
        row = self._claim(route)
        if row is not None:
            self._send(row)
        return row is not None

    def refresh(self) -> None:
        """Tell the senders whose receivers forget of everything that is firing.

        Raises:
            SendError: a receiver could not be reached.
        """
        now = self._clock.now()
        with self._store.connect() as connection:
            rows = connection.execute(sa.select(ALERTS).where(ALERTS.c.status == FIRING)).all()
        alerts = [Alert.of(row) for row in rows]
        for name, route in self._routes.items():
            if hasattr(route.sender, "refresh"):
                told = [a for a in alerts if name in a.memory.routes]
                messages = [Message.of(a, UPDATED, now, {}, "") for a in told]
                cast(Refreshing, route.sender).refresh(messages)

    def _claim(self, route: str) -> sa.Row[Any] | None:
        """The next that is due, not behind another of its alert."""
        now = self._clock.now()
        table, earlier = NOTIFICATIONS, NOTIFICATIONS.alias()
        behind = (
            sa.select(earlier.c.id)
            .where(
                earlier.c.alert == table.c.alert,
                earlier.c.route == table.c.route,
                earlier.c.status == WAITING,
                earlier.c.id < table.c.id,
            )
            .exists()
        )
        due = (
            sa.select(table)
            .where(
                table.c.status == WAITING, table.c.next_at <= now, table.c.route == route, ~behind
            )
            .order_by(table.c.id)
            .limit(1)
        )
        with self._store.connect() as connection:
            if connection.execute(due).first() is None:
                return None  # nobody is kept from their turn for nothing
        with self._store.begin() as connection:
            take_turn(connection, now)
            row = connection.execute(due).first()
            if row is not None:
                # Counted now: an attempt that kills its process must come to an end too.
                claim = {"next_at": now + self._lease, "attempts": row.attempts + 1}
                connection.execute(sa.update(table).where(table.c.id == row.id).values(claim))
        return row

    def _send(self, row: sa.Row[Any]) -> None:
        route = self._routes[row.route]
        if self._over_limit(row, route):
            text = f"{row.route}: more than {route.most} within its limit's time; not sent"
            self._finish(row, LIMITED, error=text)
            return
        letter = Letter(row.key, Message(**row.message), self._stationery)
        try:
            receipt = route.sender.send(letter)
        except SendError as error:
            self._failed(row, str(error), error.permanent, error.response)
        except Exception as error:  # a sender's defect must not stop the others
            log.exception("route %s", row.route)
            self._failed(row, f"{type(error).__name__}: {error}", False, None)
        else:
            self._arrived(row, receipt)

    def _arrived(self, row: sa.Row[Any], receipt: Receipt) -> None:
        self._finish(row, DRY_RUN if receipt.dry_run else SENT, response=receipt.response)

    def _failed(self, row: sa.Row[Any], error: str, permanent: bool, response: str | None) -> None:
        attempts = row.attempts + 1
        if permanent or attempts >= self._attempts:
            log.error("notification %d to %s is given up: %s", row.id, row.route, error)
            self._finish(row, DEAD, error, response)
            return
        wait = min(self._backoff << min(attempts - 1, 40), self._longest)
        log.warning("notification %d to %s: %s; again in %d s",
                    row.id, row.route, error, wait // 1_000_000)  # fmt: skip
        self._metrics.notifications.labels(row.route, FAILED).inc()
        with self._store.begin() as connection:
            connection.execute(
                sa.update(NOTIFICATIONS)
                .where(NOTIFICATIONS.c.id == row.id)
                .values(next_at=self._clock.now() + wait, error=error, response=response)
            )

    def _finish(
        self, row: sa.Row[Any], status: str, error: str | None = None, response: str | None = None
    ) -> None:
        now = self._clock.now()
        self._metrics.notifications.labels(row.route, status).inc()
        with self._store.begin() as connection:
            take_turn(connection, now)
            connection.execute(
                sa.update(NOTIFICATIONS)
                .where(NOTIFICATIONS.c.id == row.id)
                .values(status=status, finished_at=now, error=error, response=response)
            )
            told = f"{row.reason} to {row.route}: {status.replace('_', ' ')}"
            remember(connection, row.alert, now, "delivery", f"{told}; {error}" if error else told)

    def _over_limit(self, row: sa.Row[Any], route: Route) -> bool:
        if route.most is None:
            return False
        query = sa.select(sa.func.count()).where(
            NOTIFICATIONS.c.route == row.route,
            NOTIFICATIONS.c.status.in_((SENT, DRY_RUN)),
            NOTIFICATIONS.c.finished_at > self._clock.now() - route.within,
        )
        with self._store.connect() as connection:
            return int(connection.execute(query).scalar_one()) >= route.most

    def measure(self) -> None:
        """Bring the gauges up to date."""
        now = self._clock.now()
        table, metrics = NOTIFICATIONS, self._metrics
        count = sa.func.count()
        waiting = (
            sa.select(table.c.status, table.c.route, count, sa.func.min(table.c.created_at))
            .where(table.c.status.in_((WAITING, DEAD)))
            .group_by(table.c.status, table.c.route)
        )
        kinds = (ALERTS.c.status, ALERTS.c.kind, ALERTS.c.severity)
        is_open = sa.select(*kinds, count).where(ALERTS.c.status.in_(OPEN)).group_by(*kinds)
        with self._store.connect() as connection:
            found = connection.execute(waiting).all()
            opened = connection.execute(is_open).all()
        numbers = {(status, route): n for status, route, n, _ in found}
        for route in self._routes:
            metrics.waiting.labels(route).set(numbers.get((WAITING, route), 0))
            metrics.dead.labels(route).set(numbers.get((DEAD, route), 0))
        oldest = min((since for status, _, _, since in found if status == WAITING), default=now)
        metrics.oldest.set((now - oldest) / 1e6)
        metrics.open.clear()
        for status, kind, severity, n in opened:
            metrics.open.labels(status, kind, severity).set(n)
