"""What Prometheus scrapes from a stream job."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)


class StreamMetrics:
    """All metrics of one job, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.entries = Counter("millrace_stream_entries", "Entries acknowledged", registry=registry)
        self.messages = Counter(
            "millrace_stream_messages",
            "Messages by what became of them: handled, left_out, dead",
            ["result"],
            registry=registry,
        )
        self.batch = Histogram(
            "millrace_stream_batch_messages",
            "Messages handled together",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
            registry=registry,
        )
        self.handling = Histogram(
            "millrace_stream_handling_seconds",
            "Time a batch spent in the handler",
            buckets=_SECONDS,
            registry=registry,
        )
        self.delay = Histogram(
            "millrace_stream_delay_seconds",
            "From an entry's arrival at the broker until it was handled",
            buckets=_SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "millrace_stream_failures",
            "Failed attempts, by what failed: broker, handler, outage, maintenance",
            ["part"],
            registry=registry,
        )
        self.status = Gauge(
            "millrace_stream_status",
            "What the broker says: behind_seconds, unacknowledged, dead_letters, …",
            ["name"],
            registry=registry,
        )
