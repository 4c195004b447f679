"""How well training uses a device: `python benchmarks/gpu.py output_dir=<folder>`.

DLRM on synthetic rows of Criteo's shape: samples a second for each way of running it, and what
share that is of what the device can do: of its arithmetic, for the dense part (model FLOP
utilization), and of its memory's bandwidth, for the rows of tables. With `sasrec.path`, also the
seconds in which SASRec on MovieLens-1M becomes as good as the bar.

Limits: reading and coding rows is not measured, batches lie on the device. Both shares are of the
whole step's time, though the two kinds of work take turns. On a CPU (`accelerator=cpu`, with small
sizes) it only shows that it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, measure
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

# One process needs no torchrun, but torchrec asks how many a machine has.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "LOCAL_WORLD_SIZE": "1"}


def settings(cfg: DictConfig, output: Path) -> list[str]:
    """What all trainings of this run share, as overrides of `configs/train.yaml`."""
    found = [f"trainer.accelerator={cfg.accelerator}", f"output_dir={output}"]
    return [*found, f"threads={cfg.threads}"] if cfg.threads else found


def ranking(cfg: DictConfig, name: str, output: Path) -> dict[str, Any]:
    """One variant's rate."""
    chosen = cfg.ranking
    return measure(
        [
            sys.executable, "benchmarks/ranking_rate.py", str(output / "config.yaml"),
            "experiment=recommender/dlrm", "trainer=sharded", *settings(cfg, output),
            f"trainer.strategy.plan={chosen.plan}", f"model.net.dim={chosen.dim}",
            f"model.net.bottom={list(chosen.bottom)}", f"model.net.top={list(chosen.top)}",
            "model.net.dropout=0.0", "scheduler=constant", *chosen.variants[name],
        ],
        ENVIRONMENT,
    )  # fmt: skip


def sasrec(cfg: DictConfig, name: str, output: Path) -> dict[str, Any]:
    """One variant's seconds to the bar."""
    chosen = cfg.sasrec
    precision = "bf16-mixed" if cfg.accelerator == "gpu" else "32-true"
    return measure(
        [
            sys.executable, "benchmarks/time_to_bar.py", chosen.metric, str(chosen.bar),
            str(chosen.limit), f"trainer={cfg.accelerator}", *settings(cfg, output),
            f"trainer.precision={precision}", *chosen.overrides, *chosen.variants[name],
            f"data.path={chosen.path}",
        ],
        ENVIRONMENT,
    )  # fmt: skip


def peak(peaks: Mapping[str, Mapping[str, float]], device: str) -> Mapping[str, float] | None:
    """What a device can do, by the longest name that its own begins with."""
    fitting = [name for name in peaks if device.startswith(name)]
    return peaks[max(fitting, key=len)] if fitting else None


def shares(
    row: Mapping[str, Any], peak: Mapping[str, float] | None, bf16: bool
) -> dict[str, float]:
    """`mfu` and `bandwidth_share` of a measured row; nothing where the device is not known."""
    if peak is None:
        return {}
    rate = row["samples_per_s"]
    return {
        "mfu": rate * row["flops_per_sample"] / peak["bf16" if bf16 else "fp32"],
        "bandwidth_share": rate * row["table_bytes_per_sample"] / peak["bytes"],
    }


def show(rows: Mapping[str, Mapping[str, Any]], cfg: DictConfig, console: Console) -> None:
    """Print rates and shares."""
    first = next(iter(rows.values()))
    cost = f"{first['flops_per_sample'] / 1e6:.2f} MFLOP"
    cost += f" and {first['table_bytes_per_sample'] / 1e3:.1f} kB of tables a sample"
    table = Table(title=f"DLRM, batch {cfg.ranking.batch:,}, {first['device']}: {cost}")
    for column in ("", "samples/s", "MFU", "bandwidth", "memory, MB"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        share = [f"{row[k]:.1%}" if k in row else "–" for k in ("mfu", "bandwidth_share")]
        memory = f"{row['peak_mb']:,.0f}" if row["peak_mb"] else "–"
        table.add_row(name, f"{row['samples_per_s']:,.0f}", *share, memory)
    for name, rate in cfg.ranking.published.items():
        table.add_row(f"published: {name}", f"{rate:,.0f}", "–", "–", "–")
    console.print(table)


@entrypoint("benchmark/gpu")
def main(cfg: DictConfig) -> None:
    """Measure every variant, print and draw them."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    rows: dict[str, dict[str, Any]] = {}
    for name, overrides in cfg.ranking.variants.items():
        if overrides is None:
            continue
        row = ranking(cfg, name, output)
        bf16 = any(o.startswith("trainer.precision=bf16") for o in overrides)
        rows[name] = row | shares(row, peak(cfg.peaks, row["device"]), bf16)
    kept = ("samples_per_s", "mfu", "bandwidth_share", "peak_mb")
    model = {f"{n} {k}": r[k] for n, r in rows.items() for k in kept if r.get(k) is not None}
    if rows:
        show(rows, cfg, console)
        best = max(rows.values(), key=lambda r: float(r["samples_per_s"]))
        model["samples_per_s"] = best["samples_per_s"]
        reached = best["samples_per_s"] / cfg.ranking.goal
        console.print(f"best: {reached:.2f} of the goal, {cfg.ranking.goal:,} samples/s")
        drawn = {n: float(r["samples_per_s"]) for n, r in rows.items()}
        bars({f"DLRM, {best['device']}": drawn}, "samples/s", output / "gpu.png", ours="bf16")
    for name in cfg.sasrec.variants if cfg.sasrec.path else ():
        found = sasrec(cfg, name, output)
        said = "reached" if found["reached"] else "NOT reached"
        console.print(
            f"SASRec, {name}: {cfg.sasrec.metric} {found['best']:.4f}, the bar {cfg.sasrec.bar} "
            f"{said} after {found['seconds']:.1f} s and {found['epochs']} epochs "
            f"({found['device']})"
        )
        kept = ("reached", "seconds", "best", "epochs")
        model |= {f"sasrec {name} {k}": float(found[k]) for k in kept}
    Report(
        model=model,
        peers={n: {"samples_per_s": float(r)} for n, r in cfg.ranking.published.items()},
        data={"name": "synthetic, Criteo's shape"},
        conditions=conditions(
            devices=sorted({r["device"] for r in rows.values()}),
            batch=cfg.ranking.batch, steps=cfg.ranking.steps, dim=cfg.ranking.dim,
            flops_per_sample={n: r["flops_per_sample"] for n, r in rows.items()},
            table_bytes_per_sample={n: r["table_bytes_per_sample"] for n, r in rows.items()},
        ),
    ).write(output / "metrics.json")  # fmt: skip
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
