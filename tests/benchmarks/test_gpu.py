"""The device benchmark, small and on a CPU: it runs, and its shares are what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from benchmarks.gpu import peak, shares
from benchmarks.ranking_rate import dense_flops, rows_of, shape, table_bytes
from models.recommender.ranking.nets.dlrm import DLRM
from scripts.entrypoint import CONFIGS
from tests.conftest import ROOT
from tests.run_if import RunIf

SMALL = [
    "accelerator=cpu", "threads=1", "ranking.batch=64", "ranking.warmup=1", "ranking.steps=3",
    "ranking.batches=2", "ranking.most_rows=50", "ranking.dim=8", "ranking.bottom=[16]",
    "ranking.top=[16]",
]  # fmt: skip


def config(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("benchmark/gpu", [*overrides, "output_dir=unused"])


def run(output: Path, *overrides: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", f"output_dir={output}", *overrides],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "metrics.json").read_text()), done.stdout


def test_rows_have_criteos_shape() -> None:
    cfg = config(*SMALL, "ranking.most_rows=1000").ranking
    batch = rows_of(cfg, 64, torch.device("cpu"), seed=1)
    assert batch.dense.shape == (64, 13)
    assert len(batch.bags.keys()) == 26
    assert batch.bags.lengths().tolist() == [1] * 26 * 64
    ids = batch.bags.values().view(26, 64)
    limits = torch.tensor([min(n, 1000) for n in cfg.rows])
    assert (ids.max(dim=1).values < limits).all()
    assert (ids.min(dim=1).values >= 0).all()
    assert ids[2].unique().numel() > 50, "of a thousand, spread over all"
    skewed = rows_of(config(*SMALL, "ranking.skew=8").ranking, 64, torch.device("cpu"), seed=1)
    assert skewed.bags.values().float().mean() < batch.bags.values().float().mean()


def test_what_a_sample_costs_is_counted_as_by_hand() -> None:
    cfg = config(*SMALL).ranking
    net = DLRM(shape(cfg), dim=8, bottom=[16], top=[16])
    first, products = 26 * 16, 27 * 27 * 8  # two inputs a number: the number, whether missing
    rest = 16 * 8 + (8 + 27 * 26 // 2) * 16 + 16
    # A multiplication and an addition each; backwards twice as much, but not for the data itself.
    by_hand = 2 * (first * 2 + (products + rest) * 3)
    assert dense_flops(net, cfg) == pytest.approx(by_hand)
    cfg.rows = [1, 1]  # every look-up of a batch is of the same row
    batch = rows_of(cfg, 10, torch.device("cpu"), seed=1)
    assert table_bytes([batch], cfg) == pytest.approx((20 * 32 + 2 * 2 * 36) / 10)


def test_shares_are_of_the_devices_own_peaks() -> None:
    cfg = config()
    known = peak(cfg.peaks, "NVIDIA H200")
    assert known is not None
    row = {"samples_per_s": 1e6, "flops_per_sample": 9.895e6, "table_bytes_per_sample": 48_000}
    assert shares(row, known, bf16=True) == pytest.approx({"mfu": 0.01, "bandwidth_share": 0.01})
    assert shares(row, known, bf16=False)["mfu"] == pytest.approx(0.02, rel=1e-3)
    pcie, sxm = (peak(cfg.peaks, f"NVIDIA H100 {n}") for n in ("PCIe", "80GB HBM3"))
    assert pcie
    assert sxm
    assert pcie["bytes"] < sxm["bytes"]
    assert shares(row, peak(cfg.peaks, "CPU"), bf16=True) == {}


@pytest.mark.slow
def test_it_runs_on_a_cpu(tmp_path: Path) -> None:
    report, shown = run(
        tmp_path, *SMALL, "ranking.plan=row_wise", "~ranking.variants",
        "+ranking.variants={fp32: null, bf16: ['trainer.precision=bf16-mixed']}",
    )  # fmt: skip
    rates = {k: v for k, v in report["model"].items() if k.endswith("samples_per_s")}
    assert set(rates) == {"bf16 samples_per_s", "samples_per_s"}
    assert all(rate > 0 for rate in rates.values())
    assert report["conditions"]["devices"] == ["CPU"]
    assert "published: torchrec on one A100" in shown
    assert (tmp_path / "gpu.png").stat().st_size > 0


@pytest.mark.slow
def test_the_bar_stops_a_training(tmp_path: Path) -> None:
    path = tmp_path / "ml-1m.txt"
    path.write_text("".join(f"{u} {1 + (u + n) % 15}\n" for u in range(1, 31) for n in range(9)))
    small = ["model.compile=false", "model.net.dim=8", "datamodule.max_length=8", "threads=1",
             "data.split.validation_users=8", "trainer.max_epochs=5"]  # fmt: skip

    def until(bar: float, limit: float) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "benchmarks/time_to_bar.py", "val_ndcg@10", str(bar), str(limit),
             *config().sasrec.overrides, "trainer=cpu", f"data.path={path}",
             f"output_dir={tmp_path}", *small],
            cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    low, high, late = until(0.0, 300), until(1.1, 300), until(1.1, 0)
    assert low["reached"]
    assert low["epochs"] == 1
    assert not high["reached"]
    assert high["epochs"] == 5
    assert high["best"] >= low["best"]
    assert not late["reached"]
    assert late["epochs"] == 1


@pytest.mark.gpu
@RunIf(min_gpus=1)
def test_it_runs_on_a_gpu(tmp_path: Path) -> None:
    report, _ = run(
        tmp_path, "ranking.batch=4096", "ranking.warmup=5", "ranking.steps=10",
        "ranking.most_rows=10000",
    )  # fmt: skip
    assert report["model"]["bf16, compiled, CUDA graphs samples_per_s"] > 0
    assert report["model"]["bf16 peak_mb"] > 0
    [device] = report["conditions"]["devices"]
    if peak(config().peaks, device):
        assert 0 < report["model"]["bf16 mfu"] < 1
        assert 0 < report["model"]["bf16 bandwidth_share"] < 1
