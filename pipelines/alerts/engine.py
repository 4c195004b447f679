"""From anomalies to alerts: each turn is one transaction of the store.

What is read, what it changes and the notifications that follow are committed together with the
cursor, so a turn that is killed has not happened, and one that has happened is complete.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.alerts import ledger
from pipelines.alerts.alert import Alert
from pipelines.alerts.clock import Clock
from pipelines.alerts.duration import duration_us, shown
from pipelines.alerts.escalation import EscalationStep, in_order
from pipelines.alerts.finding import Finding
from pipelines.alerts.grouping import Grouping, key_of
from pipelines.alerts.message import (
    ESCALATED,
    FIRED,
    REPEATED,
    RESOLVED,
    UPDATED,
    Message,
    last_hour,
)
from pipelines.alerts.metrics import AlertMetrics
from pipelines.alerts.quiet import Maintenance, Quiet, Silence, covering, holding, report_ended
from pipelines.alerts.rates import RateRule, Rates
from pipelines.alerts.route import Route, check
from pipelines.alerts.tables import EXPIRED, FIRING, PENDING
from pipelines.alerts.tables import RESOLVED as OVER

log = logging.getLogger(__name__)

_NEVER = 1 << 62
Event = tuple[str, str, str]  # of history: what, rule, text


class Turn(NamedTuple):
    """What a turn did.

    Args:
        more: anomalies are left to read.
    """

    anomalies: int
    notifications: int
    more: bool


class AlertEngine:
    """See the module; the settings are explained in `configs/alerts/default.yaml`.

    Args:
        most: anomalies of one turn; bounds memory.
        most_fields: told of in a message.
        first_look: on the first start, anomalies found longer ago than this are left out.
    """

    def __init__(
        self,
        store: sa.Engine,
        grouping: Grouping,
        rates: Sequence[RateRule],
        maintenance: Sequence[Maintenance],
        escalation: Sequence[EscalationStep],
        routes: Mapping[str, Route],
        clock: Clock,
        metrics: AlertMetrics,
        most: int,
        most_fields: int,
        first_look: str,
    ) -> None:
        self._store = store
        self._grouping = grouping
        self._rates = Rates(rates)
        self._quiet = Quiet(maintenance)
        self._steps = in_order(escalation)
        self._routes = check(routes, [r for s in self._steps for r in s.routes])
        self._clock = clock
        self._metrics = metrics
        self._most = most
        self._most_fields = most_fields
        self._first_look = duration_us(first_look)
        self._settled = 0

    def open(self) -> None:
        """Be ready for turns; the first start says what it leaves out."""
        now = self._clock.now()
        left_out = ledger.begin_at(self._store, now - self._first_look, now)
        if left_out:
            log.warning("first start: %d anomalies are older than first_look; no alerts", left_out)

    def turn(self) -> Turn:
        """Take in new anomalies, then do what is due."""
        until = self._settled = ledger.settled(self._store, self._settled)
        now = self._clock.now()
        with self._store.begin() as connection:
            cursor = ledger.take_turn(connection, now)
            findings = ledger.unread(connection, cursor, until, self._most)
            diary = ledger.Diary(now)
            quiet = self._quiet.load(connection, min([now, *(f.timestamp for f in findings)]))
            alerts = self._take_in(connection, findings, quiet, diary)
            told = sum(self._advance(connection, alert, quiet, diary) for alert in alerts)
            for alert in alerts:
                alert.due_at = self._due(alert) if alert.open else None
            ledger.save(connection, alerts)
            diary.write(connection)
            vain = report_ended(connection, now)
            if findings:
                ledger.move_cursor(connection, findings[-1].sequence)
        self._measure(findings, vain, now)
        return Turn(len(findings), told, max(len(findings), told) >= self._most)

    def _take_in(
        self,
        connection: sa.Connection,
        findings: Sequence[Finding],
        quiet: Sequence[Silence | Maintenance],
        diary: ledger.Diary,
    ) -> list[Alert]:
        now = diary.now
        labels = [self._grouping.labels(f) for f in findings]
        keys = [key_of(one) for one in labels]
        alerts = {a.key: a for a in ledger.concerned(connection, set(keys), now, self._most)}
        members = []
        applied: dict[str, Counter[Event]] = {}
        counting: dict[str, set[RateRule]] = {}
        new: dict[str, Alert] = {}
        for finding, group, key in zip(findings, labels, keys, strict=True):
            if key not in alerts and key not in new:
                new[key] = Alert(key, finding.status, group, now, now)
        ledger.create(connection, list(new.values()))
        for alert in new.values():
            text = ", ".join(f"{n}={v}" for n, v in alert.labels.items())
            diary.note(alert.id, "opened", text)
        alerts |= new
        for finding, key in zip(findings, keys, strict=True):
            rate, event, member = self._join(alerts[key], finding, quiet, now)
            members.append(member)
            if member["suppressed_by"] is None:
                counting.setdefault(key, set()).add(rate)
            if event is not None:
                applied.setdefault(key, Counter())[event] += 1
        ledger.add_members(connection, members)
        for key, events in applied.items():
            for (what, rule, text), count in events.items():
                diary.note(alerts[key].id, what, text, rule, count)
                self._metrics.suppressed.labels(what).inc(count)
        for key, rates in counting.items():
            self._count(connection, alerts[key], rates, diary)
        return list(alerts.values())

    def _join(
        self, alert: Alert, finding: Finding, quiet: Sequence[Silence | Maintenance], now: int
    ) -> tuple[RateRule, Event | None, dict[str, object]]:
        """An anomaly becomes part of its alert: the rule that counts it, the rule applied to it."""
        grouping = self._grouping
        labels = finding.labels(grouping.moved_share)
        rate = self._rates.rule(labels)
        cover = covering(quiet, finding, labels, now)
        duplicate = alert.take(
            finding,
            labels["field"],
            grouping.fingerprint(finding),
            cover is not None,
            now,
            self._most_fields,
        )
        event: Event | None = None
        if cover is not None:
            what = "silence" if isinstance(cover, Silence) else "maintenance"
            event = (what, cover.name, f"kept quiet by {cover.who}: {cover.why} ({cover.matchers})")
        elif duplicate:
            rule = ", ".join(grouping.dedup_by)
            event = ("dedup", rule, f"the same as was told already, by {rule}")
        member: dict[str, object] = {
            "anomaly": finding.id,
            "alert": alert.id,
            "timestamp": finding.timestamp,
            "rate": rate.name,
            "suppressed_by": cover.name if cover else None,
            "duplicate": duplicate,
        }
        return rate, event, member

    def _count(
        self, connection: sa.Connection, alert: Alert, rates: set[RateRule], diary: ledger.Diary
    ) -> None:
        """A pending alert fires after `group_wait` once a rate rule has enough."""
        now = diary.now
        if alert.status != PENDING or alert.notify_at is not None:
            return
        for rate in sorted(rates, key=lambda r: r.at_least):
            alert.memory.patience = max(alert.memory.patience, rate.within)
            count = 1
            if rate.at_least > 1:
                count = ledger.counted(connection, alert.id, rate.name, rate.within)
            if count >= rate.at_least:
                alert.notify_at = now + self._grouping.group_wait
                return
            if count:
                within = shown(rate.within)
                text = f"{count} of {rate.at_least} anomalies in {within}: not enough yet"
                diary.note(alert.id, "rate", text, rate.name)

    def _advance(
        self,
        connection: sa.Connection,
        alert: Alert,
        quiet: Sequence[Silence | Maintenance],
        diary: ledger.Diary,
    ) -> int:
        """Do what time has brought; how many notifications that made."""
        now = diary.now
        grouping = self._grouping
        over = now >= self._ends(alert)
        if not over and self._held(alert, quiet, diary):
            return 0
        if alert.status == PENDING:
            if alert.notify_at is not None and now >= alert.notify_at:
                alert.status, alert.fired_at = FIRING, now
                return self._tell(connection, alert, FIRED, diary)
            if over:
                alert.status, alert.ended_at = EXPIRED, now
                all_quiet = alert.suppressed == alert.anomalies
                text = (
                    "all of it was kept quiet" if all_quiet else "never enough anomalies to be told"
                )
                diary.note(alert.id, EXPIRED, text)
            return 0
        if not alert.firing:
            return 0
        told = self._escalate(connection, alert, diary) if not over else 0
        if over:
            alert.status, alert.ended_at = OVER, now
            note = f"no anomaly for {shown(now - alert.last_seen_at)}"
            return told + self._tell(connection, alert, RESOLVED, diary, note)
        if now >= self._next_news(alert):
            return told + self._tell(connection, alert, UPDATED, diary)
        if (
            not alert.acknowledged_at
            and now >= (alert.notified_at or now) + grouping.repeat_interval
        ):
            return told + self._tell(connection, alert, REPEATED, diary)
        return told

    def _escalate(self, connection: sa.Connection, alert: Alert, diary: ledger.Diary) -> int:
        now = diary.now
        told = 0
        while alert.escalation < len(self._steps) and not alert.acknowledged_at:
            step = self._steps[alert.escalation]
            if now < (alert.fired_at or now) + step.after:
                break
            alert.escalation += 1
            if not step.matchers.matches(alert.labelled()):
                continue
            if step.severity is not None:
                alert.raise_to(step.severity)
            told += self._tell(connection, alert, ESCALATED, diary, step.text, step.routes)
        return told

    def _tell(
        self,
        connection: sa.Connection,
        alert: Alert,
        reason: str,
        diary: ledger.Diary,
        note: str = "",
        named: Sequence[str] = (),
    ) -> int:
        """Write the notifications of one piece of news; they are sent from the outbox."""
        now = diary.now
        labels = alert.labelled()
        alert.begin_to_tell()
        before = alert.memory.routes
        if reason == RESOLVED:
            told = [r for r in before if r in self._routes and RESOLVED in self._routes[r].on]
            news = dict.fromkeys(told, reason)
        elif named:
            news = dict.fromkeys(named, reason)
        else:
            # An escalation's severity is no anomaly's: it is no reason for what carries `fired`.
            worst = alert.memory.worst
            fresh = None if worst is None else {**labels, "severity": [str(worst["severity"])]}
            carried = {
                name: route.news(labels, reason, None if name in before else fresh)
                for name, route in self._routes.items()
            }
            news = {name: kind for name, kind in carried.items() if kind is not None}
        routes = list(news)
        hour = last_hour(connection, alert.memory.sources, now)
        message = Message.of(alert, reason, now, hour, note)
        for route, kind in news.items():
            ledger.enqueue(connection, alert, route, replace(message, reason=kind))
        text = f"{note}; " if note else ""
        text += f"{alert.severity}; " if reason != RESOLVED else ""
        text += f"to {', '.join(routes)}" if routes else "no route carries it"
        diary.note(alert.id, reason, text)
        if not routes and reason == FIRED:
            self._metrics.unrouted.inc()
            log.warning("alert %d: %s, but no route carries it", alert.id, message.subject)
        alert.was_told(now, routes)
        return len(routes)

    def _held(
        self,
        alert: Alert,
        quiet: Sequence[Silence | Maintenance],
        diary: ledger.Diary,
    ) -> bool:
        """Whether something would be told now, but a silence or window covers all of the alert."""
        now = diary.now
        memory = alert.memory
        if now < memory.held_until or not alert.open or now < self._next_step(alert):
            return now < memory.held_until
        cover = holding(quiet, alert.labelled(), now)
        if cover is None:
            return False
        # Looked at again at its end: what goes on then is told at once.
        memory.held_until = min(now + self._grouping.group_interval, cover.ends(now))
        text = f"not told while {cover.who} keeps it quiet: {cover.why} ({cover.matchers})"
        diary.note(alert.id, "held", text, cover.name)
        return True

    def _ends(self, alert: Alert) -> int:
        """When it is over unless something comes; a rate rule's stretch is waited for."""
        patience = alert.memory.patience if alert.status == PENDING else 0
        return alert.last_seen_at + max(self._grouping.resolve_after, patience)

    def _next_news(self, alert: Alert) -> int:
        """When what is new will be told; far away if nothing is."""
        told = alert.notified_at or 0
        if alert.risen:
            return told + self._grouping.group_wait
        if alert.memory.fresh:
            return told + self._grouping.group_interval
        return _NEVER

    def _due(self, alert: Alert) -> int:
        """When the next turn must look at it even if nothing comes."""
        return min(self._ends(alert), max(self._next_step(alert), alert.memory.held_until))

    def _next_step(self, alert: Alert) -> int:
        """When it is told next, if nothing comes and nobody keeps it quiet."""
        due = [_NEVER]
        if alert.status == PENDING and alert.notify_at is not None:
            due.append(alert.notify_at)
        if alert.firing:
            due.append(self._next_news(alert))
            if not alert.acknowledged_at:
                due.append((alert.notified_at or 0) + self._grouping.repeat_interval)
                if alert.escalation < len(self._steps):
                    due.append((alert.fired_at or 0) + self._steps[alert.escalation].after)
        return min(due)

    def _measure(self, findings: Sequence[Finding], vain: int, now: int) -> None:
        for finding in findings:
            self._metrics.anomalies.labels(finding.status, finding.severity).inc()
            self._metrics.delay.observe(max(0, now - finding.detected_at) / 1e6)
        self._metrics.vain_silences.inc(vain)
        self._metrics.last_turn.set(now / 1e6)
