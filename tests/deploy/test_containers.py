"""What the container files say of the project is true of it; no container engine is needed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from scripts.alert import COMMANDS as ALERT_COMMANDS
from scripts.commands import command_overrides
from scripts.entrypoint import CONFIGS, explain
from scripts.monitor import COMMANDS
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services: dict[str, Any] = loaded["services"]
    return services


def test_everything_named_is_there_and_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    assert {"gateway", "redis", "postgres", "kafka", "prometheus", "grafana"} <= set(services)
    for name, service in services.items():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, name
            assert "healthcheck" in services[needed] or services[needed].get("build"), needed


def test_the_gateways_command_composes(services: dict[str, Any]) -> None:
    command = services["gateway"]["command"]
    assert command[:2] == ["python", "scripts/serve.py"]
    overrides = command[2:]
    assert explain("serve", overrides) is None
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("serve", [*overrides, "paths.root=/opt/millrace"])
    assert cfg.gateway.cache._target_.endswith("RedisCache")
    assert cfg.torchserve.model.handler.providers[0] == "CUDAExecutionProvider"
    assert cfg.torchserve.host == "127.0.0.1", "TorchServe is never reachable from outside"


def test_the_monitor_is_scraped_where_it_listens(services: dict[str, Any]) -> None:
    command = services["monitor"]["command"]
    assert command[:2] == ["python", "scripts/monitor.py"]
    overrides = command_overrides(command[2:], dict.fromkeys(COMMANDS, ()))
    assert explain("monitor", overrides) is None
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("monitor", [*overrides, "paths.root=/opt/millrace"])
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    [job] = [j for j in scraped["scrape_configs"] if j["job_name"] == "features"]
    assert job["static_configs"][0]["targets"] == [f"monitor:{cfg.port}"]
    assert cfg.watch


def test_the_processor_and_the_alerts_are_scraped_where_they_listen(
    services: dict[str, Any],
) -> None:
    """And telemetry goes in where it comes out."""
    configs = {}
    for name, config in (("gateway", "serve"), ("stream", "stream"), ("alerts", "alert")):
        overrides = services[name]["command"][2:]
        if config == "alert":
            overrides = command_overrides(overrides, dict.fromkeys(ALERT_COMMANDS, ()))
        assert explain(config, overrides) is None
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            configs[name] = compose(config, [*overrides, "paths.root=/opt/millrace"])
    stream, alerts = configs["stream"].job, configs["alerts"].alerts.job
    assert stream.metrics_host == alerts.metrics_host == "0.0.0.0"
    loaded = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    scraped = {job["job_name"]: job for job in loaded["scrape_configs"]}
    assert scraped["alerts"]["static_configs"][0]["targets"] == [f"alerts:{alerts.metrics_port}"]
    [found] = scraped["stream"]["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["stream"], stream.metrics_port)
    assert configs["gateway"].anomalies.broker == configs["stream"].anomalies.broker
    assert "redis://redis:" in configs["stream"].anomalies.broker
    redis = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in redis
    assert "--appendfsync always" in redis


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    for service in services.values():
        for key, value in (service.get("environment") or {}).items():
            if "PASSWORD" in key:
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), key


def test_the_image_copies_what_exists_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile.gpu").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        *sources, _ = [w for w in line.split() if not w.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
    users = re.findall(r"^USER (.+)$", text, re.M)
    assert users
    assert users[-1] not in ("root", "0")
    assert "HEALTHCHECK" in text
    assert "locks/cuda.txt" in text
