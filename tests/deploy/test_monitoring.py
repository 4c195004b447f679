"""Alert rules fire when they should, and nothing watches a metric that nobody exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from pipelines.anomalies.metrics import AnomalyMetrics

from feature_repo.monitoring.gauges import every_gauge
from pipelines.alerts.metrics import AlertMetrics
from pipelines.anomalies.gauges import StoreGauges
from serving.gateway.anomalies.metrics import AnomalyMetrics as AnomalyDoor
from serving.gateway.metrics import GatewayMetrics
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
_METRIC = re.compile(r"\bmillrace_[a-z0-9_]+\b")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool; on Debian: apt-get install prometheus")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_and_the_rules_fire(promtool: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [promtool, *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def exported() -> set[str]:
    """Every series name that the gateway, the monitor, the processors and the alerts can give."""
    gateway = GatewayMetrics().registry
    AnomalyDoor(gateway)
    store = StoreGauges(sa.create_engine("sqlite://"))
    names = set()
    for family in (
        *gateway.collect(),
        *every_gauge(),
        *AnomalyMetrics().registry.collect(),
        *AlertMetrics().registry.collect(),
        *store.describe(),
    ):
        endings = {
            "counter": ("_total", "_created"),
            "histogram": ("_bucket", "_sum", "_count", "_created"),
            "gauge": ("",),
        }[family.type]
        names |= {family.name + ending for ending in endings}
    return names


@pytest.mark.parametrize(
    "path",
    [
        *sorted((DEPLOY / "prometheus").glob("*.yml")),
        *sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")),
    ],
    ids=lambda p: p.name,
)
def test_only_exported_metrics_are_watched(path: Path) -> None:
    assert set(_METRIC.findall(path.read_text())) <= exported()


def test_the_dashboard_watches_every_golden_signal() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text())
    queries = " ".join(t["expr"] for p in dashboard["panels"] for t in p.get("targets", []))
    for name in (
        "requests_total",
        "request_seconds",
        "fallbacks_total",
        "in_flight",
        "cache_total",
    ):
        assert f"millrace_gateway_{name}" in queries, name


def test_the_feature_dashboard_watches_every_measure() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "features.json").read_text())
    queries = " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"])
    for name in (
        "freshness_seconds",
        "null_ratio",
        "psi",
        "js",
        "skew_mismatch_ratio",
        "quarantined_rows",
        "outlier_ratio",
        "missing_online_ratio",
    ):
        assert f"millrace_feature_{name}" in queries, name


def test_the_anomaly_dashboard_watches_speed_quality_and_delivery() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "anomalies.json").read_text())
    queries = " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"])
    for name in (
        "anomaly_events_total",
        "anomaly_anomalies_total",
        "anomaly_delay_seconds_bucket",
        "anomaly_status",
        "anomaly_threshold",
        "anomaly_precision",
        "alert_notifications_total",
    ):
        assert f"millrace_{name}" in queries, name
    assert 'result="to_review"' in queries
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])


def test_rules_tolerate_what_the_monitor_tolerates() -> None:
    config = yaml.safe_load((ROOT / "configs" / "monitoring" / "default.yaml").read_text())
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    rules = {r["alert"]: r["expr"] for g in groups for r in g["rules"]}
    limits, drift = config["limits"], config["drift"]
    assert f"_psi >= {drift['psi_moderate']} " in rules["FeatureDrift"]
    assert f"_js >= {drift['js']} " in rules["FeatureDrift"]
    assert f"> {limits['null_increase']}" in rules["FeatureNulls"]
    assert rules["FeatureSkew"].endswith(f"> {limits['skew']}")
    assert rules["FeatureSkewUnverifiable"].endswith(f"> {limits['unverifiable']}")
    assert rules["FeatureRowsRejected"].endswith(f"> {limits['quarantined']}")
    assert rules["FeatureMissingOnline"].endswith(f"> {limits['missing_online']:g}")
