"""Where the door may stand open, and which credentials count."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import CONFIGS, explain
from serving.gateway.access.guard import OpenAccess, OpenDoorError, is_loopback
from serving.gateway.app import create_app
from serving.stack import services
from serving.supervisor import Supervisor, free_port
from tests.conftest import ROOT
from tests.serving.gateway.conftest import gateway_config, running


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("gateway.example", False),
    ],
)  # fmt: skip
def test_what_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_without_access_control_the_gateway_stays_on_loopback(
    own_features: Path, tmp_path: Path
) -> None:
    config = gateway_config(None, own_features, 9, tmp_path)
    config.host = "0.0.0.0"
    with pytest.raises(OpenDoorError, match=r"gateway.host=0.0.0.0.*gateway/access=keys") as caught:
        create_app(config)
    assert caught.value.exit_code == 78
    config.access.allow_remote = True
    create_app(config)
    OpenAccess(allow_remote=False).check_host("127.0.0.1")


@pytest.mark.parametrize("choice", ["keys", "oidc", "keys_and_oidc"])
def test_with_access_control_it_may_listen_anywhere(
    own_features: Path, tmp_path: Path, choice: str
) -> None:
    issuer = ["gateway.access.verifiers.oidc.keys.issuer=https://login.example"]
    overrides = [f"gateway/access={choice}", *(issuer if "oidc" in choice else [])]
    config = gateway_config(None, own_features, 9, tmp_path, *overrides)
    config.host = "0.0.0.0"
    create_app(config)


def test_the_process_says_why_it_does_not_start(own_features: Path, tmp_path: Path) -> None:
    config = gateway_config(None, own_features, 9, tmp_path)
    config.host = "0.0.0.0"
    file = tmp_path / "gateway.yaml"
    file.write_text(OmegaConf.to_yaml(config, resolve=True))
    command = [sys.executable, "-m", "serving.gateway", "--config", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 78
    assert "error: gateway.host=0.0.0.0" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("group", ["access", "pushes"])
def test_every_choice_composes(group: str) -> None:
    for option in (CONFIGS / "gateway" / group).glob("*.yaml"):
        assert explain("serve", [f"gateway/{group}={option.stem}"]) is None, option


async def test_everybody_is_anonymous_at_an_open_door(own_features: Path, tmp_path: Path) -> None:
    async with running(gateway_config(None, own_features, 9, tmp_path)) as client:
        headers = {"Authorization": "Bearer whatever"}
        answer = await client.get("/feature/user_history?user_id=u1", headers=headers)
        assert answer.status_code == 200
        assert (await client.get("/v1/audit")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'requests_total{route="/feature/{view}",status="200"} 1.0' in metrics


@pytest.mark.services
def test_a_gateway_of_features_only_runs_without_torchserve(
    own_features: Path, tmp_path: Path
) -> None:
    port = free_port()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "serve",
            [
                "features_only=true", "gateway/access=keys", f"gateway.port={port}",
                f"paths.root={tmp_path}", f"paths.features={own_features}",
                f"output_dir={tmp_path / 'run'}",
            ],
        )  # fmt: skip
    assert isinstance(cfg, DictConfig)
    running_services = services(cfg)
    assert [s.name for s in running_services] == ["gateway"]
    with Supervisor(running_services, startup_timeout=120):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/feature/user_history?user_id=u1")
        assert refused.value.code == 401
        refused.value.close()
