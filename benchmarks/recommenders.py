"""Training speed beside RecTools: `python benchmarks/recommenders.py path=<folder of ml-1m.txt>`.

Same machine, same run, same shapes: sequences a second of a SASRec of equal width, depth, window
and batch. Each row is a process of its own. Quality is measured by `scripts/train.py` with
`experiment=recommender/movielens_1m` and `recommender/beauty`.
"""

from __future__ import annotations

import sys
from pathlib import Path
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
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width
    for length in cfg.lengths:
        rows = millrace(cfg, data, length) | rectools(cfg, data, length)
        rates = {name: row["sequences_per_s"] for name, row in rows.items()}
        panels[f"{length} items, width {cfg.dim}, {cfg.blocks} blocks"] = rates
        table = Table(title=f"Training, {length} items a sequence, {cfg.threads} threads")
        for column in ("", "sequences/s", f"times {FAIR}"):
            table.add_column(column, justify="right" if column else "left")
        for name, rate in rates.items():
            table.add_row(name, f"{rate:,.0f}", f"{rate / rates[FAIR]:.1f}")
            if name.startswith("millrace"):
                ours[f"{name} ({length})"] = rate
            else:
                peers.setdefault(name, {})[f"sequences_per_s ({length})"] = rate
        console.print(table)
    versions = measure([peers_python(), "-c", _VERSIONS])
    Report(
        model={f"{name} sequences_per_s": rate for name, rate in ours.items()},
        peers=peers,
        data={"name": data.name},
        conditions=conditions(threads=cfg.threads, steps=cfg.steps, peers=versions),
    ).write(output / "metrics.json")
    bars(panels, "sequences/s", output / "training.png")
    console.print(f"see {output}")


_VERSIONS = """
import json
from importlib.metadata import version
print(json.dumps({p: version(p) for p in ("rectools", "torch", "pytorch-lightning", "numpy")}))
"""

if __name__ == "__main__":
    main()
