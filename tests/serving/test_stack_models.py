"""Several models in one TorchServe: which are served, which version, and what is said of none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from models import champion
from models.artifact import ArtifactError
from scripts.entrypoint import CONFIGS
from serving.stack import MissingArtifactError, SameModelError, services
from serving.supervisor import Supervisor, free_port
from tests.serving.conftest import ROOT
from tests.serving.detectors import VERSION, make_detector


def settings(root: Path, *overrides: str) -> DictConfig:
    ports = [f"torchserve.ports.{name}={free_port()}" for name in (
        "inference", "management", "metrics", "grpc_inference", "grpc_management",
    )]  # fmt: skip
    given = [f"paths.root={root}", f"output_dir={root / 'run'}", f"gateway.port={free_port()}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("serve", [*given, *ports, *overrides])


def served(root: Path) -> dict[str, Any]:
    """What the gateway was told, and which models TorchServe loads."""
    gateway = yaml.safe_load((root / "run" / "gateway.yaml").read_text())
    archives = sorted(p.stem for p in (root / "run" / "model_store").glob("*.mar"))
    return {"artifacts": gateway["artifacts"], "archives": archives}


@pytest.fixture
def root(tmp_path: Path, tiny_artifact: Path) -> Path:
    """A project with a recommender and two versions of a detector."""
    goal = tmp_path / "artifacts" / "recommender" / tiny_artifact.name
    shutil.copytree(tiny_artifact, goal)
    make_detector(tmp_path)
    make_detector(tmp_path, version="20260303-000000-000")
    return tmp_path


def test_every_model_that_has_an_artifact_is_served_the_newest(root: Path) -> None:
    assert [s.name for s in services(settings(root))] == ["torchserve", "gateway"]
    found = served(root)
    assert found["archives"] == ["anomaly", "recommender"]
    assert Path(found["artifacts"]["anomaly"]).name == "20260303-000000-000"
    assert Path(found["artifacts"]["recommender"]).parent.name == "recommender"


def test_javas_options_are_its_users(root: Path) -> None:
    assert "-XX:TieredStopAtLevel=1" in services(settings(root))[0].command
    own = "torchserve.java_options=[-XX:+UseG1GC,-Xss1m]"
    command = services(settings(root, own))[0].command
    assert [o for o in command if o.startswith("-X")] == ["-Xmx512m", "-XX:+UseG1GC", "-Xss1m"]


def test_the_champion_is_served_where_there_is_one(root: Path) -> None:
    champion.promote(root / "artifacts", "anomaly", VERSION, "better", "test")
    services(settings(root))
    assert Path(served(root)["artifacts"]["anomaly"]).name == VERSION


def test_a_model_may_be_chosen_by_path_or_left_out(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "copy"
    shutil.copytree(root / "artifacts" / "anomaly" / VERSION, other)
    services(settings(root, f"models.anomaly.artifact={other}", "models.recommender.serve=false"))
    assert served(root) == {
        "artifacts": {
            "recommender": None,
            "anomaly": str(other),
            "sentiment": None,
            "retrieval": None,
            "ranker": None,
        },
        "archives": ["anomaly"],
    }


def test_what_is_absent_is_not_served(root: Path) -> None:
    shutil.rmtree(root / "artifacts" / "anomaly")
    services(settings(root))
    assert served(root)["artifacts"]["anomaly"] is None


def test_without_any_artifact_it_says_where_it_looked_and_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError) as missing:
        services(settings(tmp_path))
    text = str(missing.value)
    for name in ("recommender", "anomaly", "sentiment"):
        assert str(tmp_path / "artifacts" / name) in text
        assert f"experiment={name}/" in text
    assert "features_only=true" in text
    nothing = [f"models.{use}.serve=false" for use in ("recommender", "anomaly", "sentiment")]
    with pytest.raises(MissingArtifactError, match="every model has serve=false"):
        services(settings(tmp_path, *nothing))


def test_two_artifacts_of_one_name_are_refused(root: Path) -> None:
    same = root / "artifacts" / "anomaly" / VERSION
    with pytest.raises(SameModelError, match=r"models\.recommender and models\.anomaly are both"):
        services(
            settings(root, f"models.recommender.artifact={same}", "models.recommender.task=anomaly")
        )


def test_an_artifact_of_another_use_is_refused_at_the_start(root: Path) -> None:
    wrong = root / "artifacts" / "anomaly" / VERSION
    with pytest.raises(ArtifactError, match=r"task 'anomaly'.*'recommendation'"):
        services(
            settings(root, f"models.recommender.artifact={wrong}", "models.anomaly.serve=false")
        )


def test_the_key_of_one_model_names_those_of_several() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/serve.py", "artifact=x"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "models.ranker.artifact" in done.stderr


@pytest.mark.services
def test_anomalies_only_without_a_feature_store(tmp_path: Path) -> None:
    """As `python scripts/serve.py` starts it in a project that has a detector and nothing else."""
    make_detector(tmp_path)
    cfg = settings(tmp_path, "gateway/access=none")
    with Supervisor(services(cfg), startup_timeout=180):
        url = f"http://127.0.0.1:{cfg.gateway.port}"
        event = {"timestamp": "2023-10-10T12:34:56Z", "cpu_usage": 87, "memory": 54}
        request = urllib.request.Request(
            f"{url}/predict", json.dumps(event).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        assert (answer["status"], answer["severity"]) == ("anomaly", "warning")
        with pytest.raises(urllib.error.HTTPError) as absent:
            urllib.request.urlopen(f"{url}/recommend?user_id=u1")
        assert absent.value.code == 404
        absent.value.close()
        with urllib.request.urlopen(f"{url}/v1/audit") as response:  # lies beside the registry
            assert response.status == 200
