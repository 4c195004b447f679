"""Alert rules fire when they should, and nothing watches a metric that nobody exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
    """Every series name that the gateway's registry can give."""
    names = set()
    for family in GatewayMetrics().registry.collect():
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
