"""The alerts of a test: anomalies go in, what would be sent comes out, and hours pass at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pipelines.alerts.commands import AlertCommands
from pipelines.alerts.delivery import Delivery
from pipelines.alerts.engine import AlertEngine
from pipelines.alerts.errors import SendError
from pipelines.alerts.escalation import EscalationStep
from pipelines.alerts.grouping import Grouping
from pipelines.alerts.history import NoHistory, ScoreHistory
from pipelines.alerts.letter import Letter, Stationery
from pipelines.alerts.listing import Listing, Rows
from pipelines.alerts.metrics import AlertMetrics
from pipelines.alerts.quiet import Maintenance
from pipelines.alerts.rates import RateRule
from pipelines.alerts.route import Route
from pipelines.alerts.senders.sender import Receipt
from pipelines.anomalies.store import ANOMALIES, ANOMALY, event_id

SECOND = 1_000_000
MINUTE = 60 * SECOND
FIELDS = {
    "memory": {"value": 88.0, "expected": 54.0, "contribution": 1.6},
    "cpu": {"value": 97.0, "expected": 41.0, "contribution": 6.2},
    "disk": {"value": 10.0, "expected": 10.0, "contribution": 0.2},
}
START = 1_767_571_200 * SECOND  # Monday, 2026-01-05 00:00 UTC


class ManualClock:
    """Stands still until it is turned."""

    def __init__(self, now: int = START) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def forward(self, minutes: float) -> None:
        self.time += round(minutes * MINUTE)


class Recorder:
    """A sender that keeps what it is given, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, permanent: bool = False) -> None:
        self.letters: list[Letter] = []
        self.failures, self.permanent = failures, permanent
        self.attempts = 0

    def send(self, letter: Letter) -> Receipt:
        self.attempts += 1
        if self.failures:
            self.failures -= 1
            raise SendError("the mail server is away", self.permanent)
        self.letters.append(letter)
        return Receipt("taken")

    @property
    def reasons(self) -> list[str]:
        return [letter.message.reason for letter in self.letters]


class House:
    """See the module. Without settings: grouped by source, one anomaly is enough."""

    def __init__(
        self,
        store: sa.Engine,
        routes: Mapping[str, Route] | None = None,
        grouping: Mapping[str, Any] | None = None,
        rates: Sequence[RateRule] = (),
        maintenance: Sequence[Maintenance] = (),
        escalation: Sequence[EscalationStep] = (),
        scores: ScoreHistory | None = None,
        clock: ManualClock | None = None,
        most: int = 1000,
        attempts: int = 4,
        link: str | None = None,
    ) -> None:
        self.store = store
        self.clock = clock or ManualClock()
        self.recorder = Recorder()
        self.routes = dict(routes or {"ops": Route(self.recorder)})
        self.metrics = AlertMetrics()
        settings = {
            "by": ["source"],
            "dedup_by": ["source", "severity", "field"],
            "group_wait": "10s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "resolve_after": "15m",
            "moved_share": 0.1,
        } | dict(grouping or {})
        self.engine = AlertEngine(
            store, Grouping(**settings), rates, maintenance, escalation, self.routes, self.clock,
            self.metrics, most=most, most_fields=8, first_look="1d",
        )  # fmt: skip
        self.paper = Stationery(scores or NoHistory(store), "UTC", link)
        self.delivery = Delivery(
            store, self.routes, self.paper, self.clock, self.metrics, attempts=attempts,
            backoff="5s", longest_backoff="10m", lease="2m",
        )  # fmt: skip
        self.commands = AlertCommands(store, self.clock, moved_share=0.1, look_back_days=7)
        self.listing = Listing(store, maintenance, self.clock, "UTC", 1000)
        self.engine.open()
        self.delivery.open()

    def anomaly(self, source: str = "db-1", severity: str = "critical", **given: Any) -> str:
        """Put one into the store, found now; returns its id."""
        with self.store.begin() as connection:
            row = anomaly_row(self.clock.now(), source, severity, **given)
            done = connection.execute(sa.insert(ANOMALIES).values(row))
            assert done.inserted_primary_key is not None
            return str(row["id"])

    def turn(self, minutes: float = 0.0) -> None:
        """Let time pass, take a turn, and send what is due."""
        self.clock.forward(minutes)
        self.engine.turn()
        self.send()

    def send(self) -> None:
        for name in self.routes:
            while self.delivery.run_once(name):
                pass

    def fire(self, **given: Any) -> None:
        """An alert that has been told."""
        self.anomaly(**given)
        self.turn()
        self.turn(0.5)

    def rows(self, what: str, id: int | None = None) -> Rows:
        return self.listing.rows(what, id)

    def history(self, alert: int = 1) -> list[str]:
        """What happened, in words."""
        return [f"{r['what']}: {r['text']}" for r in self.rows("history", alert)]


def anomaly_row(now: int, source: str, severity: str, **given: Any) -> dict[str, Any]:
    """A row of the store's anomalies: cpu moved most, memory a little, disk not at all."""
    global _made
    _made += 1
    timestamp = given.pop("timestamp", now)
    fields = given.pop("fields", FIELDS)
    return {
        "id": event_id(f"{source} {_made}", timestamp), "source": source, "timestamp": timestamp,
        "detected_at": now, "status": ANOMALY, "severity": severity, "score": 8.0,
        "threshold": 4.0, "fields": fields, "reason": None, "model": "anomaly", "version": "1",
    } | given  # fmt: skip


_made = 0
