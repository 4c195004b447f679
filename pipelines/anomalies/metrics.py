"""What Prometheus scrapes from an anomaly processor."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 600.0)


class AnomalyMetrics:
    """All metrics of one processor, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "millrace_anomaly_events",
            "Events by what became of them: scored, late (scored by itself), to_review, duplicate, "
            "dead",
            ["result"],
            registry=registry,
        )
        self.anomalies = Counter(
            "millrace_anomaly_anomalies", "Anomalies by severity", ["severity"], registry=registry
        )
        self.extra = Counter(
            "millrace_anomaly_extra_fields",
            "Fields left out because the model does not have them",
            registry=registry,
        )
        self.new_sources = Counter(
            "millrace_anomaly_new_sources",
            "Sources never seen before, which start from the calibrated threshold",
            registry=registry,
        )
        self.verdicts = Counter(
            "millrace_anomaly_verdicts", "Verdicts applied to thresholds", registry=registry
        )
        self.batch = Histogram(
            "millrace_anomaly_batch_events",
            "Events handled together",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000),
            registry=registry,
        )
        self.seconds = Histogram(
            "millrace_anomaly_seconds",
            "Time of a batch by part: read (decode and check), score (windows to findings), commit",
            ["part"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.delay = Histogram(
            "millrace_anomaly_delay_seconds",
            "From an entry's arrival at the broker until its results were committed",
            buckets=_SECONDS,
            registry=registry,
        )
        self.published = Counter(
            "millrace_anomaly_published", "Messages sent to the topic", registry=registry
        )
        self.failures = Counter(
            "millrace_anomaly_failures",
            "Failed attempts by part: broker, store (a full disk too), model, topic",
            ["part"],
            registry=registry,
        )
        self.held = Gauge("millrace_anomaly_partitions", "Partitions held", registry=registry)
        self.sources = Gauge("millrace_anomaly_sources", "Sources remembered", registry=registry)
        self.blocked = Gauge(
            "millrace_anomaly_blocked",
            "1 while the broker or the store does not let the processor go on",
            registry=registry,
        )
        self.status = Gauge(
            "millrace_anomaly_status",
            "What the broker says: waiting_entries, behind_seconds, dead_letters",
            ["name"],
            registry=registry,
        )
