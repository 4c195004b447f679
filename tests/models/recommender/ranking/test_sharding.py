"""Tables spread over processes: the same weights as one process, on any number of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict_saver import save
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from models.recommender.interactions import DataError
from models.recommender.ranking.metrics import measured
from models.recommender.ranking.nets.affinity import EARLIER, Affinity
from models.recommender.ranking.nets.dlrm import DLRM
from models.recommender.ranking.ranker import Ranker
from models.recommender.ranking.sharding import (
    META,
    ShardedStrategy,
    ShardsError,
    read_whole,
    refuse_earlier,
    require_whole,
)
from models.run import Run
from tests.conftest import ROOT
from tests.models.recommender.ranking.snapshots import rows, snapshot
from tests.models.recommender.ranking.test_affinity import SHARED

EVERY_KIND = "{item_id: column_wise, user_id: table_wise, tags: data_parallel, default: row_wise}"
SETTINGS = [
    f"trainer.strategy.plan={EVERY_KIND}",
    # Elementwise optimizers: a column's state is its own, however a table is cut.
    "trainer.strategy.fused._target_=torch.optim.Adagrad", "trainer.strategy.fused.lr=0.05",
    "optimizer._target_=torch.optim.SGD", "optimizer.lr=0.1", "+optimizer.momentum=0.9",
    "~optimizer.betas", "~optimizer.foreach", "scheduler=constant",
]  # fmt: skip


LAUNCHED = "tests/models/recommender/ranking/launched.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def torchrun(options: list[str], data: Path, output: Path, *overrides: str) -> list[str]:
    run = [sys.executable, "-m", "torch.distributed.run", *options, LAUNCHED]
    return [*run, str(data), str(output), *SETTINGS, *overrides]


def start(processes: int, data: Path, output: Path, *overrides: str) -> subprocess.Popen[str]:
    options = [f"--nproc-per-node={processes}", f"--master-port={free_port()}"]
    return subprocess.Popen(
        torchrun(options, data, output, *overrides), cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said[-4000:]


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} for {seconds} s"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Machine:
    """A shell that starts an agent of one process, and again until it ends well.

    What it says lies in `log`. Leaving ends the shell and its agent, and with that the process.
    """

    def __init__(self, port: int, log: Path, data: Path, output: Path, *overrides: str) -> None:
        options = ["--nnodes=2", "--nproc-per-node=1", "--max-restarts=0", "--rdzv-id=41"]
        options += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
        command = shlex.join(torchrun(options, data, output, *overrides))
        self.log = log
        with log.open("w") as out:
            self.shell = subprocess.Popen(
                ["bash", "-c", f"until {command}; do sleep 1; done"], cwd=ROOT, env=ENVIRONMENT,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shell.poll() is None:
            os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()

    def processes(self) -> tuple[int, int]:
        """The agent and its rank."""
        [agent] = children(self.shell.pid)
        [rank] = children(agent)
        return agent, rank

    def finish(self) -> str:
        assert self.shell.wait(timeout=200) == 0, self.log.read_text()[-4000:]
        return self.log.read_text()


def weights(run: Path, scratch: Path) -> Mapping[str, torch.Tensor]:
    dcp_to_torch_save(run / "checkpoints" / "last.ckpt", scratch)
    found: Mapping[str, torch.Tensor] = torch.load(scratch, weights_only=False)["state_dict"]
    return found


def difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    assert set(one) == set(other)
    return max(float((one[k].float() - other[k].float()).abs().max()) for k in one)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot(tmp_path_factory.mktemp("data") / "snapshot", rows(400))


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two epochs on one process, and on two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    finish(*(start(n, data, p, "trainer.max_epochs=2") for n, p in ((1, one), (2, two))))
    return one, two


@pytest.mark.slow
def test_two_processes_learn_what_one_does(runs: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = (weights(run, tmp_path / "whole.pt") for run in runs)
    assert difference(one, two) < 1e-5
    tables = [k for k in one if ".embedding_bags." in k]
    assert len(tables) == 4
    assert all(one[k].std() > 0.1 for k in tables), "as they began, not zeros"
    reports = [json.loads((run / "metrics.json").read_text())["model"] for run in runs]
    assert reports[0] == pytest.approx(reports[1], abs=1e-3)


AFFINITY = [
    "trainer.strategy.plan=planner",
    "+model/recommender/affinity@model.net.affinity=next_item",
    "model.net.affinity.history=item_ids", "model.net.affinity.most=5",
    "model.net.affinity.dim=8", "model.affinity_lr=0.5",
    # Fewer than a process has rows where there is one, as many as two have together.
    "model.net.affinity.negatives=12", "model.affinity_weight=1",
]  # fmt: skip
PLANS = {
    "cut": "{affinity_before: row_wise, affinity_after: column_wise, default: table_wise}",
    "placed": "{affinity_before: table_wise, affinity_after: data_parallel, default: row_wise}",
}


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_an_affinity_learns_on_two_processes_what_it_does_on_one(
    plan: str, data: Path, tmp_path: Path
) -> None:
    """Also in a second epoch, on the other number of processes: rows of the batch are told apart
    whoever has them, and the tables' sums of squares are read by whoever holds them now.
    """
    settings = [*AFFINITY, f"trainer.strategy.plan={PLANS[plan]}"]
    paths = {n: tmp_path / f"on {n}" for n in (1, 2)}
    finish(*(start(n, data, p, *settings, "trainer.max_epochs=1") for n, p in paths.items()))
    one, two = (weights(p, tmp_path / "whole.pt") for p in paths.values())
    assert difference(one, two) < 1e-5
    tables = {k: one[k] for k in one if k.startswith("net.affinity.tables.")}
    assert {k.split(".")[-2] for k in tables} == {"affinity_before", "affinity_after"}
    assert (one["net.affinity.turn"] - torch.eye(8)).abs().max() > 1e-4, "it learns"

    further = {n: tmp_path / f"then on {3 - n}" for n in paths}
    finish(
        *(
            start(3 - n, data, further[n], *settings, "trainer.max_epochs=2",
                  f"resume='{paths[n] / 'checkpoints' / 'last.ckpt'}'")
            for n in paths
        )
    )  # fmt: skip
    grown, shrunk = (weights(p, tmp_path / "whole.pt") for p in further.values())
    assert difference(grown, shrunk) < 1e-5
    assert all((grown[k] - one[k]).abs().max() > 1e-3 for k in tables), "they went on"


@pytest.mark.parametrize(
    ("dim", "affinity", "words"),
    [(6, 8, "table item_id is 6 wide"), (8, 6, "table affinity_before is 6 wide")],
)
def test_a_width_that_no_kernel_takes(dim: int, affinity: int, words: str) -> None:
    make = partial(Affinity, history="seen", item="item_id", most=3, dim=affinity, negatives=8)
    with pytest.raises(DataError, match=f"{words}, but the kernels take multiples of 4"):
        ShardedStrategy("planner", partial(RowWiseAdagrad, lr=0.1)).shard(
            DLRM(SHARED, dim, [8], [8], affinity=make)
        )


@pytest.mark.slow
def test_what_the_planner_spread_is_measured_again_by_one_process(
    data: Path, tmp_path: Path
) -> None:
    """Sharded tables answer in an order of their own, which no weight may depend on."""
    finish(start(2, data, tmp_path, *AFFINITY, "trainer.max_epochs=2"))
    meta = torch.load(tmp_path / "checkpoints" / "best.ckpt" / META, weights_only=False)
    [kept] = [c for n, c in meta["callbacks"].items() if n.startswith("ModelCheckpoint")]
    run = Run.open(tmp_path)
    assert isinstance(run.model, Ranker)
    rows = run.data.validation
    again = measured(rows.label.numpy(), run.model.probabilities(rows).numpy())
    assert kept["monitor"] == "val_log_loss"
    assert again["log_loss"] == pytest.approx(float(kept["best_model_score"]), abs=1e-5)


def test_a_checkpoint_from_before_the_affinity_was_sharded(tmp_path: Path) -> None:
    """Is read whole, as for an export, but training cannot go on from it."""

    make = partial(Affinity, history="seen", item="item_id", most=3, dim=4, negatives=8)
    trained, fresh = (DLRM(SHARED, 4, [8], [8], affinity=make) for _ in range(2))
    names = {f"net.affinity.{new}": f"net.affinity.{old}" for old, new in EARLIER.items()}
    whole = {f"net.{n}": t for n, t in trained.state_dict().items()}
    path = tmp_path / "last.ckpt"
    save({"state_dict": {names.get(n, n): t for n, t in whole.items()}}, checkpoint_id=path,
         no_dist=True)  # fmt: skip
    torch.save({"epoch": 3}, path / META)
    assert read_whole(path, fresh)["epoch"] == 3
    for name, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
    with pytest.raises(ShardsError, match=r"last\.ckpt: of an earlier layout.*or train anew"):
        refuse_earlier(path)


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_more_or_fewer_processes(
    runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    """With the optimizers' state: momentum and sums of squares matter in the third epoch."""
    more, fewer = tmp_path / "more", tmp_path / "fewer"
    last = [run / "checkpoints" / "last.ckpt" for run in runs]
    finish(
        start(2, data, more, "trainer.max_epochs=3", f"resume={last[0]}"),
        start(1, data, fewer, "trainer.max_epochs=3", f"resume={last[1]}"),
    )
    grown, shrunk = (weights(run, tmp_path / "whole.pt") for run in (more, fewer))
    assert difference(grown, shrunk) < 1e-5
    assert difference(grown, weights(runs[0], tmp_path / "whole.pt")) > 1e-3, "it went on"


@pytest.mark.slow
def test_a_run_goes_on_after_a_killed_rank(data: Path, tmp_path: Path) -> None:
    process = start(2, data, tmp_path, "trainer.max_epochs=10000",
                    "callbacks.early_stopping=null")  # fmt: skip
    last = tmp_path / "checkpoints" / "last.ckpt" / "meta.pt"
    wait_for(last.exists, "no checkpoint", 200)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode != 0
    reached = torch.load(last, weights_only=False)["epoch"]
    finish(start(2, data, tmp_path, f"trainer.max_epochs={reached + 2}", "resume=true"))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["conditions"]["epochs"] == reached + 2


@pytest.mark.slow
def test_two_machines_go_on_after_one_of_them_was_killed(data: Path, tmp_path: Path) -> None:
    """Its agent falls to `kill -9`, and its rank with it. Then the other rank and agent end too,
    and both shells start the same command again; nobody else does anything.
    """
    output, whole, port = tmp_path / "two", tmp_path / "one", free_port()
    settings = ("trainer.max_epochs=12", "callbacks.early_stopping=null")
    logs = [tmp_path / f"machine {n}.log" for n in range(2)]
    last = output / "checkpoints" / "last.ckpt" / "meta.pt"
    with (
        Machine(port, logs[0], data, output, *settings, "resume=auto") as first,
        Machine(port, logs[1], data, output, *settings, "resume=auto") as second,
    ):
        wait_for(last.exists, "no checkpoint")
        (agent, rank), (_, survivor) = first.processes(), second.processes()
        os.kill(agent, signal.SIGKILL)
        wait_for(lambda: not running(rank), "its rank goes on without it")
        wait_for(lambda: not running(survivor), "the other rank goes on without its peer")
        said = [machine.finish() for machine in (first, second)]
    assert any("Restored all states" in log for log in said), "from the checkpoint, not anew"
    assert json.loads((output / "metrics.json").read_text())["conditions"]["epochs"] == 12
    finish(start(1, data, whole, *settings))  # never interrupted
    resumed, never = (weights(run, tmp_path / "whole.pt") for run in (output, whole))
    assert difference(resumed, never) < 1e-3


@pytest.mark.slow
def test_a_sharded_run_is_measured_again_by_one_process(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Also without the machine that measured it: evaluate.py needs no torchrun."""
    before = json.loads((runs[1] / "metrics.json").read_text())["model"]
    again = Run.open(runs[1]).evaluate()
    assert again.model == pytest.approx({k: before[k] for k in again.model}, abs=1e-5)
    shutil.copytree(runs[1], tmp_path / "run")
    gone = sorted((tmp_path / "run" / "checkpoints" / "best.ckpt").glob("*.distcp"))[-1]
    gone.unlink()
    with pytest.raises(ShardsError, match=f"the file {gone.name} is missing"):
        Run.open(tmp_path / "run")


@pytest.mark.slow
def test_a_checkpoint_that_lacks_a_file_says_which(runs: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "last.ckpt"
    shutil.copytree(runs[1] / "checkpoints" / "last.ckpt", copy)
    require_whole(copy)
    gone = sorted(copy.glob("*.distcp"))[-1]
    gone.unlink()
    with pytest.raises(ShardsError, match=rf"the file {gone.name} is missing \(1 of \d+\)"):
        require_whole(copy)
    (copy / ".metadata").unlink()
    with pytest.raises(ShardsError, match="no complete sharded checkpoint"):
        require_whole(copy)
