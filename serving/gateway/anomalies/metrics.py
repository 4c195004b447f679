"""What Prometheus scrapes about anomalies."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class AnomalyMetrics:
    """In the gateway's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "millrace_gateway_anomaly_answers",
            "Events judged, by what came out: normal, anomaly, to_review, refused",
            ["status"],
            registry=registry,
        )
        self.telemetry = Counter(
            "millrace_gateway_telemetry_events",
            "Telemetry that came in: accepted, duplicate, refused, busy, failed",
            ["outcome"],
            registry=registry,
        )
        self.verdicts = Counter(
            "millrace_gateway_anomaly_verdicts", "Verdicts taken", ["verdict"], registry=registry
        )
        self.breaker_open = Gauge(
            "millrace_gateway_anomaly_breaker_open",
            "1 while the anomaly model is not asked",
            registry=registry,
        )
