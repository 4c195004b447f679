"""Speed beside RecTools: `python benchmarks/recommenders.py path=<folder of ml-1m.txt>`.

Same machine, same run, same shapes: sequences a second of training a SASRec of equal width, depth,
window and batch, and users a second of ranking every test user's whole catalog and measuring it.
Each row is a process of its own. Quality is measured by `scripts/train.py` with
`experiment=recommender/movielens_1m` and `recommender/beauty`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import KEEP_FREED_MEMORY, measure, peers_python
from models.recommender.readers.files import find
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

PLAIN = "millrace SASRec block, full softmax"
FAIR = "rectools full softmax, trimming off"


def rectools(cfg: DictConfig, data: Path, length: int) -> dict[str, dict[str, Any]]:
    """Full softmax with and without glibc's trimming, and BCE with one negative."""
    common = [
        peers_python(), "benchmarks/peers/rectools_sasrec.py", "--data", str(data),
        "--threads", str(cfg.threads), "--length", str(length), "--dim", str(cfg.dim),
        "--blocks", str(cfg.blocks), "--heads", str(cfg.heads), "--batch", str(cfg.batch),
        "--steps", str(cfg.steps), "--warmup", str(cfg.warmup),
    ]  # fmt: skip
    return {
        "rectools full softmax": measure([*common, "--loss", "softmax"]),
        FAIR: measure([*common, "--loss", "softmax"], KEEP_FREED_MEMORY),
        "rectools BCE, one negative": measure([*common, "--loss", "BCE"], KEEP_FREED_MEMORY),
    }


def millrace(cfg: DictConfig, data: Path, length: int) -> dict[str, dict[str, Any]]:
    """The classic block in fp32 and bf16, and the gated block."""
    common = [
        sys.executable, "benchmarks/training_rate.py", str(cfg.warmup), str(cfg.steps),
        "data=sequences", f"data.path={data}", f"output_dir={cfg.output_dir}",
        "datamodule.segments=last", f"datamodule.max_length={length}",
        f"datamodule.batch_size={cfg.batch}", f"model.net.dim={cfg.dim}",
        f"model.net.n_blocks={cfg.blocks}", f"block.heads={cfg.heads}", f"threads={cfg.threads}",
    ]  # fmt: skip
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    variants = {
        PLAIN: ["block=sasrec"],
        "millrace SASRec block, full softmax, bf16": [
            "block=sasrec",
            "trainer.precision=bf16-mixed",
        ],
        "millrace gated block, full softmax": ["block=gated"],
        "millrace gated block, full softmax, bf16": [
            "block=gated",
            "trainer.precision=bf16-mixed",
        ],
    }
    return {name: measure([*common, *more], environment) for name, more in variants.items()}


def show_training(
    rows: dict[str, dict[str, Any]], length: int, cfg: DictConfig, console: Console
) -> dict[str, float]:
    """Print rates and their ratios to the peer; returns the rates."""
    rates = {name: float(row["sequences_per_s"]) for name, row in rows.items()}
    table = Table(title=f"Training, {length} items a sequence, {cfg.threads} threads")
    for column in ("", "sequences/s", f"times {FAIR}"):
        table.add_column(column, justify="right" if column else "left")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates[FAIR]:.1f}")
    console.print(table)
    return rates


def evaluation(cfg: DictConfig, data: Path, length: int) -> dict[str, list[float]]:
    """Row → users/s of each round; rows take turns, so that a busy minute hits all."""
    chosen = cfg.full_ranking
    ours = [
        sys.executable, "benchmarks/evaluation_rate.py", str(chosen.passes),
        "data=sequences", f"data.path={data}", f"output_dir={cfg.output_dir}",
        "block=sasrec", f"datamodule.max_length={length}", f"model.net.dim={cfg.dim}",
        f"model.net.n_blocks={cfg.blocks}", f"block.heads={cfg.heads}", f"threads={cfg.threads}",
        f"evaluation.ks={list(chosen.ks)}", f"evaluation.batch_size={chosen.batch}",
    ]  # fmt: skip
    peer = [
        peers_python(), "benchmarks/peers/rectools_evaluation.py", "--data", str(data),
        "--threads", str(cfg.threads), "--length", str(length), "--dim", str(cfg.dim),
        "--blocks", str(cfg.blocks), "--heads", str(cfg.heads), "--batch", str(chosen.batch),
        "--passes", str(chosen.passes), "--ks", *map(str, chosen.ks), "--ranking",
    ]  # fmt: skip
    root = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    rows = {
        "millrace evaluate": (ours, root),
        "rectools recommend + metrics": ([*peer, "torch"], KEEP_FREED_MEMORY),
        "rectools recommend + metrics, CPU ranker": ([*peer, "cpu"], KEEP_FREED_MEMORY),
    }
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(chosen.rounds):
        for name, (command, environment) in rows.items():
            rates[name].append(measure(command, environment)["users_per_s"])
    return rates


def show_evaluation(
    rates: dict[str, list[float]], length: int, cfg: DictConfig, console: Console
) -> dict[str, float]:
    """Print medians, spreads and ratios to the peer's faster way; returns the medians."""
    middle = {name: median(values) for name, values in rates.items()}
    best = max(rate for name, rate in middle.items() if not name.startswith("millrace"))
    table = Table(
        title=f"Full-ranking evaluation, {length} items a sequence, {cfg.threads} threads"
    )
    for column in ("", "users/s", "lowest", "highest", "times rectools' faster way"):
        table.add_column(column, justify="right" if column else "left")
    for name, values in rates.items():
        figures = (f"{v:,.0f}" for v in (middle[name], min(values), max(values)))
        table.add_row(name, *figures, f"{middle[name] / best:.1f}")
    console.print(table)
    return middle


def file_rates(
    rates: dict[str, float],
    metric: str,
    ours: dict[str, float],
    peers: dict[str, dict[str, float]],
) -> None:
    """Put each row where `metrics.json` wants it."""
    for name, rate in rates.items():
        if name.startswith("millrace"):
            ours[f"{name} {metric}"] = rate
        else:
            peers.setdefault(name, {})[metric] = rate


@entrypoint("benchmark/recommenders")
def main(cfg: DictConfig) -> None:
    """Measure every row, print them with ratios, draw them."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    data = find(cfg.path, ("ml-1m.txt", "*.txt"))
    ours: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    panels = {}
    evaluations = {}
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width
    for length in cfg.lengths:
        if cfg.training:
            rows = millrace(cfg, data, length) | rectools(cfg, data, length)
            rates = show_training(rows, length, cfg, console)
            panels[f"{length} items, width {cfg.dim}, {cfg.blocks} blocks"] = rates
            file_rates(rates, f"sequences_per_s ({length})", ours, peers)
        if cfg.full_ranking:
            rates = show_evaluation(evaluation(cfg, data, length), length, cfg, console)
            evaluations[f"{length} items, width {cfg.dim}, {cfg.blocks} blocks"] = rates
            file_rates(rates, f"users_per_s ({length})", ours, peers)
    versions = measure([peers_python(), "-c", _VERSIONS])
    Report(
        model=ours,
        peers=peers,
        data={"name": data.name},
        conditions=conditions(threads=cfg.threads, steps=cfg.steps, peers=versions),
    ).write(output / "metrics.json")
    if panels:
        bars(panels, "sequences/s", output / "training.png")
    if evaluations:
        bars(evaluations, "users/s", output / "evaluation.png")
    console.print(f"see {output}")


_VERSIONS = """
import json
from importlib.metadata import version
print(json.dumps({p: version(p) for p in ("rectools", "torch", "pytorch-lightning", "numpy")}))
"""

if __name__ == "__main__":
    main()
