"""What Prometheus scrapes from the gateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.5, 1.0, 2.5)


class GatewayMetrics:
    """All metrics of one gateway process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "millrace_gateway_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self.latency = Histogram(
            "millrace_gateway_request_seconds",
            "From the request's arrival to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage = Histogram(
            "millrace_gateway_stage_seconds",
            "Time a batch spent in one stage",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "millrace_gateway_batch_size",
            "Queries in one batch of a stage",
            ["stage"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.fallbacks = Counter(
            "millrace_gateway_fallbacks",
            "Answers not from the model",
            ["reason"],
            registry=registry,
        )
        self.cache = Counter(
            "millrace_gateway_cache", "Cache look-ups", ["result"], registry=registry
        )
        self.in_flight = Gauge(
            "millrace_gateway_in_flight", "Requests being answered", registry=registry
        )
        self.breaker_open = Gauge(
            "millrace_gateway_breaker_open",
            "1 while a model of recommendations is not asked",
            registry=registry,
        )
        self.features_kept = Gauge(
            "millrace_gateway_features_kept", "Keys whose features are in memory",
            ["entity"], registry=registry,
        )  # fmt: skip
        self.refresh_failures = Gauge(
            "millrace_gateway_feature_refresh_failures",
            "Refreshes of features in memory that failed",
            registry=registry,
        )
        self.log_dropped = Counter(
            "millrace_gateway_log_dropped", "Predictions that were not logged", registry=registry
        )
        self.auth_failures = Counter(
            "millrace_gateway_auth_failures",
            "Requests not let in",
            ["reason"],
            registry=registry,
        )
        self.audit_events = Counter(
            "millrace_gateway_audit_events",
            "Audit events by where they went: written, spilled, recovered, lost",
            ["outcome"],
            registry=registry,
        )
        self.audit_spills = Counter(
            "millrace_gateway_audit_spills",
            "Audit events that did not go to the database at once",
            ["reason"],
            registry=registry,
        )
        self.audit_queue = Gauge(
            "millrace_gateway_audit_queue", "Audit events waiting", registry=registry
        )
        self.pushed_rows = Counter(
            "millrace_gateway_pushed_rows",
            "Rows pushed over HTTP",
            ["view", "outcome"],
            registry=registry,
        )
