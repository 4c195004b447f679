"""What Kubernetes would start is a training that composes; no cluster is needed here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch.distributed.run import get_args_parser

from scripts.entrypoint import CONFIGS, explain
from tests.conftest import ROOT

SBATCH = ROOT / "deploy" / "slurm" / "train.sbatch"


def launch(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """torchrun's own reading of its command line, and the overrides behind the script."""
    options = get_args_parser().parse_args(arguments)
    assert options.training_script == "scripts/train.py"
    return options, options.training_script_args


def training(overrides: list[str]) -> DictConfig:
    assert explain("train", overrides) is None
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [*overrides, "paths.root=/opt/millrace"])


def test_the_script_has_no_known_faults() -> None:
    shellcheck = shutil.which("shellcheck") or ROOT / ".venv" / "bin" / "shellcheck"
    done = subprocess.run([shellcheck, SBATCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    [line] = [x for x in (ROOT / "Makefile").read_text().splitlines() if "/shellcheck " in x]
    assert str(SBATCH.relative_to(ROOT)) in line.split(), "make check looks at it too"


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    text = (ROOT / "deploy" / "kubernetes" / "train.yaml").read_text()
    return {part["kind"]: part for part in yaml.safe_load_all(text)}


def test_pods_meet_at_the_first_one(manifests: dict[str, Any]) -> None:
    service, job = manifests["Service"], manifests["Job"]
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    assert service["spec"]["clusterIP"] == "None", "headless: a name for each pod"
    assert service["spec"]["publishNotReadyAddresses"], "else no pod is found before all wait"
    pods, name = job["spec"]["template"]["spec"], service["metadata"]["name"]
    assert pods["subdomain"] == name
    assert service["spec"]["selector"] == {
        "batch.kubernetes.io/job-name": job["metadata"]["name"]
    }  # which the Job controller puts on its pods
    [container] = pods["containers"]
    options, _ = launch(container["args"][1:])
    # A rendezvous of fixed ranks would let a new pod join what the first is just leaving.
    assert (options.rdzv_backend, options.node_rank) == ("c10d", 0)
    host, port = options.rdzv_endpoint.split(":")
    assert host == f"{job['metadata']['name']}-0.{name}"
    ports = {p["port"] for p in service["spec"]["ports"]}
    assert ports == {int(port)} == {p["containerPort"] for p in container["ports"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert int(options.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]


def test_the_jobs_training_composes_and_goes_on_after_a_killed_pod(
    manifests: dict[str, Any],
) -> None:
    spec = manifests["Job"]["spec"]
    pods = spec["template"]["spec"]
    [container] = pods["containers"]
    assert container["args"][0] == "torchrun"
    _, overrides = launch(container["args"][1:])
    cfg = training(overrides)
    assert cfg.resume == "auto"
    assert spec["backoffLimit"] > 0
    assert pods["restartPolicy"] == "Never", "podFailurePolicy allows no other"
    assert [r["action"] for r in spec["podFailurePolicy"]["rules"]] == ["Ignore"]
    mounted = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    assert Path(cfg.output_dir).is_relative_to("/opt/millrace/runs"), "what outlives the pod"
    assert Path(cfg.data.path).is_relative_to("/opt/millrace/data")
    assert cfg.paths.artifacts in mounted
    volumes = {v["name"]: v for v in pods["volumes"]}
    assert set(mounted.values()) == set(volumes)
    kept = {mounted[p] for p in mounted if p.startswith("/opt/millrace")}
    assert all("persistentVolumeClaim" in volumes[n] for n in kept)
    assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_pods_run_as_the_images_user_without_privileges(manifests: dict[str, Any]) -> None:
    pods = manifests["Job"]["spec"]["template"]["spec"]
    image = (ROOT / "Dockerfile.gpu").read_text()
    assert f"USER {pods['securityContext']['runAsUser']}\n" in image
    assert pods["securityContext"]["runAsNonRoot"]
    [container] = pods["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in image, "args follow it"


@pytest.mark.parametrize(
    ("environment", "nodes"),
    [({}, 2), ({"GROUP_WORLD_SIZE": "4", "SLURM_NNODES": "8"}, 4), ({"SLURM_NNODES": "8"}, 8)],
)
def test_the_trainer_has_as_many_nodes_as_the_launcher(
    environment: dict[str, str], nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GROUP_WORLD_SIZE", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert training(["trainer=multinode"]).trainer.num_nodes == nodes
