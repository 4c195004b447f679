"""What Prometheus scrapes from the alerts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class AlertMetrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.anomalies = Counter(
            "millrace_alert_anomalies",
            "Anomalies taken in, by kind (anomaly, to_review) and severity",
            ["kind", "severity"],
            registry=registry,
        )
        self.delay = Histogram(
            "millrace_alert_delay_seconds",
            "From an anomaly's detection until it was taken in",
            buckets=_SECONDS,
            registry=registry,
        )
        self.open = Gauge(
            "millrace_alert_open",
            "Alerts that are open, by status, kind and severity",
            ["status", "kind", "severity"],
            registry=registry,
        )
        self.suppressed = Counter(
            "millrace_alert_suppressed",
            "Anomalies that were not told, by what kept them: silence, maintenance, dedup",
            ["by"],
            registry=registry,
        )
        self.vain_silences = Counter(
            "millrace_alert_vain_silences",
            "Silences that ended without having matched anything",
            registry=registry,
        )
        self.unrouted = Counter(
            "millrace_alert_unrouted", "Alerts that no route carries", registry=registry
        )
        self.notifications = Counter(
            "millrace_alert_notifications",
            "Attempts to send, by route and result: sent, failed, dead, dry_run, limited",
            ["route", "result"],
            registry=registry,
        )
        self.waiting = Gauge(
            "millrace_alert_notifications_waiting",
            "Notifications not sent yet",
            ["route"],
            registry=registry,
        )
        self.oldest = Gauge(
            "millrace_alert_oldest_waiting_seconds",
            "Age of the oldest notification not sent yet",
            registry=registry,
        )
        self.dead = Gauge(
            "millrace_alert_notifications_dead",
            "Notifications that were given up and not sent again since",
            ["route"],
            registry=registry,
        )
        self.failures = Counter(
            "millrace_alert_failures",
            "Turns that failed, by part: engine, delivery, refresh",
            ["part"],
            registry=registry,
        )
        self.last_turn = Gauge(
            "millrace_alert_last_turn_timestamp_seconds",
            "When anomalies were last looked at",
            registry=registry,
        )
