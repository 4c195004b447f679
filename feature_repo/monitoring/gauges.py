"""The report as Prometheus gauges: over HTTP, or as a file for node_exporter's textfile collector.

Gauges are made from the newest report at each scrape, so that a view that is gone leaves none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from feature_repo.monitoring.report import Report
from feature_repo.monitoring.skew import Skew

PREFIX = "millrace_feature"


class Gauges:
    """A collector over the newest report."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.failures = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def write(self, path: Path) -> None:
        """Replace the file as a whole: a reader never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), self.registry)

    def serve(self, host: str, port: int) -> WSGIServer:
        """Answer GET /metrics from a thread; port 0 takes a free one. Returns the server."""
        server, _ = start_http_server(port, host, self.registry)
        return server

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            f"{PREFIX}_monitor_failures", "Runs of the monitor that failed", value=self.failures
        )
        if self.report is not None:
            yield from _run(self.report)
            yield from _views(self.report)
            yield from _features(self.report)
            yield from _skew(self.report)


def every_gauge() -> list[Metric]:
    """All that may be exported, without values."""
    now = datetime.now(UTC)
    gauges = Gauges()
    gauges.report = Report(now, now, "", "", [], Skew())
    return list(gauges.collect())


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def _run(report: Report) -> Iterator[Metric]:
    last = _gauge("monitor_last_run_timestamp_seconds", "When the monitor last succeeded")
    last.add_metric([], report.now.timestamp())
    seconds = _gauge("monitor_run_seconds", "How long its last run took")
    seconds.add_metric([], report.seconds)
    alerts = _gauge("alerts", "Findings of the last run", "view", "kind", "severity")
    counts: dict[tuple[str, str, str], int] = {}
    for alert in report.alerts:
        labels = (alert.view, alert.kind, alert.severity)
        counts[labels] = counts.get(labels, 0) + 1
    for labels, n in counts.items():
        alerts.add_metric(labels, n)
    yield from (last, seconds, alerts)


def _views(report: Report) -> Iterator[Metric]:
    age = _gauge("freshness_seconds", "Age of the newest value", "view", "store")
    created = _gauge("created_seconds", "Time since the newest row was computed or pushed", "view")
    slo = _gauge("freshness_slo_seconds", "The age that is promised", "view")
    missing = _gauge("missing_online_ratio", "Sampled keys that the online store lacks", "view")
    days = _gauge("empty_days", "Days without rows", "view")
    rows = _gauge("quarantined_rows", "Rows rejected within a day", "view")
    for view in report.views:
        fresh = view.freshness
        for store, seconds in (("offline", fresh.offline_s), ("online", fresh.online_s)):
            # Without any row the promise is broken however long it is.
            age.add_metric([view.name, store], float("inf") if seconds is None else seconds)
        if fresh.created_s is not None:
            created.add_metric([view.name], fresh.created_s)
        slo.add_metric([view.name], fresh.slo_s)
        if view.completeness.missing_share is not None:
            missing.add_metric([view.name], view.completeness.missing_share)
        days.add_metric([view.name], len(view.completeness.empty_days))
        rows.add_metric([view.name], view.quarantine.recent)
    yield from (age, created, slo, missing, days, rows)


def _features(report: Report) -> Iterator[Metric]:
    labels = ("view", "feature")
    nulls = _gauge("null_ratio", "Share of nulls", *labels)
    usual = _gauge("null_ratio_baseline", "Share of nulls in the baseline", *labels)
    psi = _gauge("psi", "Population stability index against the baseline", *labels)
    js = _gauge("js", "Jensen-Shannon distance from the baseline", *labels)
    psi_noise = _gauge("psi_noise", "What PSI stays below by chance", *labels)
    js_noise = _gauge("js_noise", "What the Jensen-Shannon distance stays below by chance", *labels)
    outliers = _gauge("outlier_ratio", "Share of outliers", *labels, "method")
    for view in report.views:
        for feature in view.features:
            where, drift = [view.name, feature.name], feature.drift
            for gauge, value in (
                (nulls, feature.current.null_share if feature.current else None),
                (usual, feature.baseline.null_share if feature.baseline else None),
                (psi, drift.psi),
                (js, drift.js),
                (psi_noise, drift.psi_noise),
                (js_noise, drift.js_noise),
            ):
                if value is not None:
                    gauge.add_metric(where, value)
            if feature.current and feature.current.outliers:
                for method, share in zip(
                    ("robust_z", "iqr"), feature.current.outliers, strict=True
                ):
                    outliers.add_metric([*where, method], share)
    quiet = _gauge("quiet", "1 for a feature that may drift", *labels)
    for name in report.quiet:
        quiet.add_metric(name.split(":", 1), 1)
    yield from (quiet, nulls, usual, psi, js, psi_noise, js_noise, outliers)


def _skew(report: Report) -> Iterator[Metric]:
    labels = ("view", "feature")
    ratio = _gauge("skew_mismatch_ratio", "Served values that differ from recomputed ones", *labels)
    lost = _gauge("skew_unverifiable_ratio", "Served values that cannot be verified", *labels)
    for feature in report.skew.features:
        if feature.mismatch_ratio is not None:
            ratio.add_metric([feature.view, feature.feature], feature.mismatch_ratio)
        if feature.compared:
            share = feature.unverifiable / feature.compared
            lost.add_metric([feature.view, feature.feature], share)
    yield from (ratio, lost)
