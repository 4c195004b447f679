"""`deploy/slurm/train.sbatch` on a real Slurm of two nodes: what is killed goes on by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.deploy import slurm
from tests.deploy.slurm import NODES, Cluster, Job, processes, wait_for
from tests.deploy.test_several_machines import SBATCH, launch, training

SHARED = ["experiment=recommender/dlrm", "data.path=/shared/rows", "trainer=sharded"]
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(
        bool(slurm.ABSENT),
        reason=f"no {', '.join(slurm.ABSENT)} (Debian: slurmd slurmctld slurm-client munge)",
    ),
]
# In place of torchrun: what a node was asked, and what Slurm gave it. It lives while `going` lies
# there, and ends as `code` says.
TORCHRUN = """#!/usr/bin/env bash
said=$SAID/start-${SLURM_RESTART_COUNT:-0}-node-$SLURM_NODEID
printf '%s\\n' "$@" > "$said.partial"
echo "$CUDA_VISIBLE_DEVICES" > "$said.gpus"
mv "$said.partial" "$said"
while [ -e "$SAID/going" ]; do sleep 0.2; done
exit "$(cat "$SAID/code")"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm.running() as cluster:
        yield cluster


class Stub:
    """A virtual environment with a stand-in of torchrun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "torchrun").write_text(TORCHRUN)
        (folder / "bin" / "torchrun").chmod(0o755)
        self.environment = {
            "VENV": str(folder), "SAID": str(folder), "REASONS": str(folder / "reasons"),
        }  # fmt: skip
        self.end_with(0)

    def end_with(self, code: int) -> None:
        (self.folder / "code").write_text(f"{code}\n")
        (self.folder / "going").unlink(missing_ok=True)

    def live_on(self) -> None:
        (self.folder / "going").touch()

    def said(self, start: int, node: int) -> Path:
        return self.folder / f"start-{start}-node-{node}"

    def wait_for_start(self, start: int, job: Job) -> None:
        job.wait_for(
            lambda: all(self.said(start, node).exists() for node in (0, 1)),
            f"start {start} on both nodes",
        )


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    (tmp_path / "venv").mkdir()
    return Stub(tmp_path / "venv")


def test_a_job_as_written_starts_a_training_with_all_that_it_asked_for_on_every_node(
    cluster: Cluster, stub: Stub, tmp_path: Path
) -> None:
    stub.live_on()
    job = cluster.submit(
        SBATCH, tmp_path / "log", *SHARED, "output_dir=/shared/runs/a b", cwd=ROOT,
        **stub.environment,
    )  # fmt: skip
    stub.wait_for_start(0, job)
    [step] = [s for s in cluster.command("scontrol", "show", "step").split("\n\n")
              if "Name=torchrun" in s]  # fmt: skip
    assert "TresPerStep=cpu:128" in step, "one CPU a task, unless srun is told"
    stub.end_with(0)
    job.wait_for_state("COMPLETED")
    assert job.shown("Restarts") == "0", "what ended well is not started again"
    for node in (0, 1):
        options, overrides = launch(stub.said(0, node).read_text().splitlines())
        assert (options.nnodes, options.nproc_per_node) == ("2", "gpu")
        assert options.rdzv_endpoint == f"{NODES[0]}:{29500 + int(job.number) % 500}"
        assert options.rdzv_id == f"{job.number}-0"
        assert options.max_restarts == 0
        assert stub.said(0, node).with_suffix(".gpus").read_text() == "0,1,2,3,4,5,6,7\n"
        cfg = training(overrides)
        assert cfg.resume == "auto"
        assert cfg.output_dir == "/shared/runs/a b"
        assert cfg.trainer.strategy._target_.endswith("ShardedStrategy"), "the caller's wins"


def test_what_died_goes_back_into_the_queue_but_not_for_ever(
    cluster: Cluster, stub: Stub, tmp_path: Path
) -> None:
    """A training that fails, then a node without its batch script, then enough of it."""
    stub.end_with(137)
    job = cluster.submit(
        SBATCH, tmp_path / "log", "output_dir=/shared/a", cwd=ROOT, MAX_RESTARTS="2",
        **stub.environment,
    )  # fmt: skip
    job.wait_for_requeue(1)
    # Of two tasks, one may end by itself and the other by srun, which then has that one's code.
    assert re.search(r"training ended with \d+: back into the queue \(restart 1\)", job.said())
    stub.live_on()
    job.start_now()
    stub.wait_for_start(1, job)
    cluster.power_off(NODES[1])
    job.wait_for_requeue(2)
    stub.end_with(1)
    cluster.start_node(NODES[1])
    wait_for(lambda: cluster.states() == ["idle", "idle"], "idle nodes")
    job.start_now()
    job.wait_for_state("FAILED")
    assert job.shown("ExitCode") == "1:0"
    assert job.shown("Restarts") == "2"
    assert re.search(r"error: training ended with \d+, after 2 restarts", job.said())
    ids = {launch(stub.said(n, 0).read_text().splitlines())[0].rdzv_id for n in range(3)}
    assert ids == {f"{job.number}-{n}" for n in range(3)}


def test_a_job_that_cannot_go_back_into_the_queue_has_failed(
    cluster: Cluster, stub: Stub, tmp_path: Path
) -> None:
    stub.end_with(3)
    job = cluster.submit(
        SBATCH, tmp_path / "log", "output_dir=/shared/a", "--no-requeue", cwd=ROOT,
        **stub.environment,
    )  # fmt: skip
    job.wait_for_state("FAILED")
    assert "Requested operation is presently disabled" in job.said()


def test_a_run_that_could_not_be_found_again_is_refused(
    cluster: Cluster, stub: Stub, tmp_path: Path
) -> None:
    job = cluster.submit(SBATCH, tmp_path / "log", *SHARED, cwd=ROOT, **stub.environment)
    job.wait_for_state("FAILED")
    assert job.shown("ExitCode") == "2:0"
    assert "give output_dir=" in job.said()
    assert not stub.said(0, 0).exists()


class Training:
    """A small recommender on both nodes, whose last start is told when to stop."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "run"
        self.last = self.output / "checkpoints" / "last.ckpt"
        self.epochs = folder / "epochs"
        self.epochs.write_text("100000")
        self.data = folder / "ring.txt"
        walks = [" ".join([f"u{u}", *(f"i{(u + n) % 20}" for n in range(4 + u % 7))])
                 for u in range(60)]  # fmt: skip
        self.data.write_text("\n".join(walks) + "\n")
        self.overrides = [
            "experiment=recommender/gru4rec", "data=sequences", f"data.path={self.data}",
            f"output_dir={self.output}", f"paths.root={self.output}", "datamodule.max_length=8",
            "datamodule.batch_size=8", "model.net.dim=16", "optimizer.lr=0.02", "threads=1",
            "logger=none", "evaluation.floors.ease=null", "callbacks.early_stopping=null",
            "callbacks.curves=null", "scheduler=constant", "trainer.accelerator=cpu",
            "trainer.devices=1", "trainer.precision=32-true", "export.parity_users=32",
        ]  # fmt: skip
        venv = folder / "venv" / "bin"
        venv.mkdir(parents=True)
        torchrun = [sys.executable, "-m", "torch.distributed.run"]
        (venv / "torchrun").write_text(
            f'#!/bin/sh\nexec {" ".join(torchrun)} "$@" trainer.max_epochs=$(cat {self.epochs})\n'
        )
        (venv / "torchrun").chmod(0o755)
        self.environment = {
            "VENV": str(venv.parent), "PROCESSES": "1", "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1", "REASONS": str(folder / "reasons"),
        }  # fmt: skip

    def reached(self) -> int:
        """Epochs of the last checkpoint."""
        epoch: int = torch.load(self.last, map_location="cpu", weights_only=False)["epoch"]
        return epoch + 1

    def wait_for_progress(self, job: Job) -> None:
        """Until this start has written a checkpoint of its own."""
        before = self.last.stat().st_mtime_ns if self.last.exists() else 0
        job.wait_for(
            lambda: self.last.exists() and self.last.stat().st_mtime_ns > before,
            "checkpoint of this start", 100,
        )  # fmt: skip


def test_what_a_training_refuses_is_not_started_again(cluster: Cluster, tmp_path: Path) -> None:
    """torchrun hides the exit code, which says that another start would end alike."""
    run = Training(tmp_path)
    run.data.unlink()
    (tmp_path / "reasons").mkdir()
    (tmp_path / "reasons" / "node-1.json").write_text('{"message": {"errorCode": 2}}')  # an old one
    (tmp_path / "reasons" / "kept").write_text("not of this job")
    job = cluster.submit(SBATCH, tmp_path / "log", *run.overrides, cwd=ROOT, **run.environment)
    job.wait_for_state("FAILED", seconds=120)
    assert job.shown("ExitCode") == "66:0", job.said()
    assert job.shown("Restarts") == "0"
    assert f"(66; see {tmp_path / 'reasons'}): not started again" in job.said()
    reasons = [path.read_text() for path in (tmp_path / "reasons").iterdir()]
    assert f"{run.data}: no such file or folder" in "".join(reasons)
    assert "not of this job" in reasons


@pytest.mark.slow
@pytest.mark.timeout(600)  # four starts
def test_a_training_survives_its_time_its_ranks_and_its_nodes(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Time nearly up, then a rank killed, then the node of the batch script lost; it ends well."""
    run = Training(tmp_path)
    job = cluster.submit(SBATCH, tmp_path / "log", *run.overrides, cwd=ROOT, **run.environment)
    run.wait_for_progress(job)
    job.update("TimeLimit=3")  # less than the four minutes before which Slurm may send the signal
    job.wait_for_requeue(1, seconds=100)
    assert "the time is nearly up: back into the queue (restart 1)" in job.said()
    job.update("TimeLimit=60")

    job.start_now()
    run.wait_for_progress(job)
    marks = (cluster.mark, f"SLURM_JOB_ID={job.number}", "RANK=1")
    [rank] = [pid for pid, _, command in processes(*marks) if "scripts/train.py" in command]
    os.kill(rank, signal.SIGKILL)
    job.wait_for_requeue(2)
    assert re.search(r"training ended with \d+: back into the queue \(restart 2\)", job.said())

    job.start_now()
    run.wait_for_progress(job)
    cluster.power_off(NODES[0])
    job.wait_for_requeue(3)
    assert not list(processes(cluster.mark, "RANK=1")), "the other rank trains on"
    reached = run.reached()
    run.epochs.write_text(f"{reached + 2}")
    cluster.start_node(NODES[0])
    wait_for(lambda: cluster.states() == ["idle", "idle"], "idle nodes")

    job.start_now()
    job.wait_for_state("COMPLETED", seconds=200)
    said = job.said()
    assert job.shown("Restarts") == "3"
    assert said.count(f"resuming from {run.last}") == 2 * 3, "each start, on both nodes"
    epochs = [int(n) for n in re.findall(r"epoch (\d+)/", said)]
    assert epochs[-2:] == [reached + 1, reached + 2], "not anew"
    report = json.loads((run.output / "metrics.json").read_text())
    assert report["conditions"]["epochs"] == reached + 2
    artifacts = run.output / "artifacts" / "recommender"
    assert [str(path) for path in artifacts.iterdir()] == [report["artifact"]], "only one"
    assert "auto-requeue" not in said, "Lightning leaves the queue to the script"
