"""Tables spread over processes: the same weights as one process, on any number of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from models.recommender.ranking.sharding import ShardsError, require_whole
from models.run import Run
from tests.conftest import ROOT
from tests.models.recommender.ranking.snapshots import rows, snapshot

EVERY_KIND = "{item_id: column_wise, user_id: table_wise, tags: data_parallel, default: row_wise}"
SETTINGS = [
    f"trainer.strategy.plan={EVERY_KIND}",
    # Elementwise optimizers: a column's state is its own, however a table is cut.
    "trainer.strategy.fused._target_=torch.optim.Adagrad", "trainer.strategy.fused.lr=0.05",
    "optimizer._target_=torch.optim.SGD", "optimizer.lr=0.1", "+optimizer.momentum=0.9",
    "~optimizer.betas", "~optimizer.foreach", "scheduler=constant",
]  # fmt: skip


def start(processes: int, data: Path, output: Path, *overrides: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
         f"--master-port={port}", "tests/models/recommender/ranking/launched.py", str(data),
         str(output), *SETTINGS, *overrides],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said[-4000:]


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
    deadline = time.monotonic() + 200
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    ranks = [int(n) for n in Path(children).read_text().split()]
    os.kill(ranks[-1], signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode != 0
    reached = torch.load(last, weights_only=False)["epoch"]
    finish(start(2, data, tmp_path, f"trainer.max_epochs={reached + 2}", "resume=true"))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["conditions"]["epochs"] == reached + 2


@pytest.mark.slow
def test_a_sharded_run_is_measured_again_by_one_process(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Also without the machine that measured it: evaluate.py needs no torchrun."""
    measured = json.loads((runs[1] / "metrics.json").read_text())["model"]
    again = Run.open(runs[1]).evaluate()
    assert again.model == pytest.approx({k: measured[k] for k in again.model}, abs=1e-5)
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
