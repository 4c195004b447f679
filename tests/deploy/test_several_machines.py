"""What Slurm and Kubernetes would start is a training that composes; neither is needed here."""

from __future__ import annotations

import os
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
SHARED = ["experiment=recommender/dlrm", "data.path=/shared/rows", "trainer=sharded"]


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


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """Slurm's commands: each writes down how it was called; srun ends with the code asked for."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, does in {
        "srun": 'printf "%s\\n" "$@" > "$CALLS/srun"; ${MEANWHILE:-true}; exit "${ENDS:-0}"',
        "scontrol": 'if [ "$1" = show ]; then printf "node-7\\nnode-8\\n"; '
        'else echo "$@" > "$CALLS/scontrol"; fi',
    }.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tools / name).chmod(0o755)
    return tmp_path


def submit(slurm: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PATH": f"{slurm / 'tools'}:{os.environ['PATH']}", "CALLS": str(slurm),
        "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "41", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node-[7-8]", **more,
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(SBATCH), *arguments],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_slurm_starts_a_training_on_every_node(slurm: Path) -> None:
    done = submit(slurm, *SHARED, "output_dir=/shared/runs/a b", SLURM_RESTART_COUNT="2")
    assert done.returncode == 0, done.stderr
    step = (slurm / "srun").read_text().splitlines()
    options, overrides = launch(step[2:])
    assert step[1].endswith("/torchrun")
    assert (options.nnodes, options.rdzv_endpoint, options.rdzv_id) == (
        "2", "node-7:29500", "41-2",
    )  # fmt: skip
    cfg = training(overrides)
    assert cfg.resume == "auto"
    assert cfg.output_dir == "/shared/runs/a b"
    assert cfg.trainer.strategy._target_.endswith("ShardedStrategy"), "the caller's trainer wins"
    assert not (slurm / "scontrol").exists(), "what ended well is not started again"


def test_slurm_queues_what_died_again_but_not_for_ever(slurm: Path) -> None:
    died = submit(slurm, *SHARED, "output_dir=/shared/a", ENDS="137")
    assert died.returncode == 0
    assert "training ended with 137: back into the queue" in died.stderr
    assert (slurm / "scontrol").read_text() == "requeue 41\n"
    (slurm / "scontrol").unlink()
    often = submit(slurm, *SHARED, "output_dir=/shared/a", ENDS="1", SLURM_RESTART_COUNT="5")
    assert often.returncode == 1
    assert "MAX_RESTARTS" in often.stderr
    assert not (slurm / "scontrol").exists()


def test_slurm_queues_again_before_the_time_is_up(slurm: Path) -> None:
    """The batch shell, srun's parent, is what `--signal=B:USR1` reaches."""
    assert "#SBATCH --signal=B:USR1@" in SBATCH.read_text()
    warn = slurm / "warn"
    warn.write_text("#!/usr/bin/env bash\nkill -USR1 $(ps -o ppid= -p $PPID)\nexec sleep 20\n")
    warn.chmod(0o755)
    done = submit(slurm, *SHARED, "output_dir=/shared/a", MEANWHILE=str(warn))
    assert done.returncode == 0
    assert "the time is nearly up: back into the queue" in done.stderr
    assert (slurm / "scontrol").read_text() == "requeue 41\n"


def test_slurm_refuses_a_run_that_could_not_be_found_again(slurm: Path) -> None:
    done = submit(slurm, *SHARED)
    assert done.returncode == 2
    assert "give output_dir=" in done.stderr
    assert not (slurm / "srun").exists()


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
