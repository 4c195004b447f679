"""Detectors on ADBench: `python benchmarks/adbench.py path=<folder of .npz files>`.

The semi-supervised protocol of Livernoche et al. (ICLR 2024): a random half of the normal rows
trains, scaled by itself; the rest and all anomalies test. One set of settings for all files.
Results are kept as they come, in `output_dir`/rows.jsonl; the same output_dir goes on from there.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

import matplotlib
import pytorch_lightning  # noqa: F401  its import sets log levels; Hydra has the last word

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

import models.training  # noqa: F401  which silences what Lightning says of its own internals
from benchmarks.child import ROOT, measure, peers_python
from models.anomaly.evaluation import isolation_forest, nearest, ranking
from models.anomaly.readers.adbench import ADBenchReader
from models.anomaly.splits import NormalHalf, Split
from models.anomaly.telemetry import ANOMALOUS, NORMAL
from models.recommender.readers.files import find_all
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)
OURS = "millrace"
PEERS = ROOT / ".venv-peers-anomaly" / "bin" / "python"
Found = dict[str, dict[str, float]]


def split_of(path: Path, cfg: DictConfig, seed: int) -> Split:
    """Train and test, both within their limits."""
    train, test = NormalHalf(seed, cfg.train_rows)(ADBenchReader(path).read())
    generator = np.random.default_rng(seed)
    kept = [
        generator.permutation(np.flatnonzero(test.label == label))[: cfg.test_rows]
        for label in (NORMAL, ANOMALOUS)
    ]
    return Split(train, test.take(np.sort(np.concatenate(kept))))


def ours(cfg: DictConfig, split: Split, seed: int) -> np.ndarray:
    """The configured detector's scores."""
    cfg.seed = seed
    detector = instantiate(cfg.model)
    detector.fit(split.train)
    scores: np.ndarray = detector.score(split.test).score
    return scores


def run(cfg: DictConfig, path: Path, seed: int, found: Found) -> Found:
    """AUROC and seconds of every detector on one file and seed; those already found are kept."""
    split = split_of(path, cfg, seed)
    mean, deviation = split.train.values.mean(0), split.train.values.std(0)
    deviation[deviation == 0] = 1.0
    train, test = ((part.values - mean) / deviation for part in split)
    detectors = {
        OURS: lambda: ours(cfg, split, seed),
        "5-NN": lambda: nearest(train, test, 5),
        "IsolationForest": lambda: isolation_forest(train, test, seed),
    }
    for name in detectors.keys() - found.keys():
        started = time.perf_counter()
        auroc = ranking(split.test.label, detectors[name]())["auroc"]
        found[name] = {"auroc": auroc, "seconds": time.perf_counter() - started}
    peers = [name for name in cfg.peers if name not in found]
    if peers:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "split.npz"
            np.savez(file, train=train, test=test, label=split.test.label)
            script = str(ROOT / "benchmarks/peers/pyod_detectors.py")
            found |= measure([peers_python(PEERS), script, str(file), str(seed), *peers])
    order = [*detectors, *(name for name in found if name not in detectors)]
    return {name: found[name] for name in order}


def draw(table: dict[str, dict[str, float]], path: Path) -> None:
    """A row of dots a file: one for each detector, ours on top."""
    names = list(next(iter(table.values())))
    files = sorted(table, key=lambda f: table[f]["5-NN"])
    colours = ["#1b6ca8", "#3a9d6e", "#8a6fb0", "#8a9ba8", "#b0a16a", "#5b6670"]  # none like ours
    figure, axis = plt.subplots(figsize=(9, 0.32 * len(files) + 1.5), layout="constrained")
    others = [name for name in names if name != OURS]
    for name in names[::-1]:
        mine = name == OURS
        colour = "#c2571a" if mine else colours[others.index(name) % len(colours)]
        axis.plot(
            [table[f][name] for f in files], files, "o" if mine else "D", label=name,
            color=colour, markersize=8 if mine else 4, alpha=0.9,
        )  # fmt: skip
    axis.set(xlabel="AUROC, %", title="ADBench, semi-supervised: mean over seeds")
    axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


@entrypoint("benchmark/adbench")
def main(cfg: DictConfig) -> None:
    """Run what is not there yet; print, write and draw the means."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml")
    torch.set_num_threads(cfg.threads)
    paths = [p for p in find_all(cfg.path, ("*.npz",)) if not cfg.files or p.stem in cfg.files]
    kept = output / "rows.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    # A later line of a file and seed knows more.
    done = {(row["file"], row["seed"]): row["detectors"] for row in map(json.loads, lines)}
    wanted = {OURS, "5-NN", "IsolationForest", *cfg.peers}
    tasks = [(seed, path) for seed in cfg.seeds for path in paths]
    rows = []
    for number, (seed, path) in enumerate(tasks, 1):
        found = done.get((path.stem, seed), {})
        if wanted - found.keys():
            found = run(cfg, path, seed, dict(found))
            with kept.open("a") as file:
                line = {"file": path.stem, "seed": seed, "detectors": found}
                file.write(json.dumps(line) + "\n")
            shown = {name: round(100 * v["auroc"], 1) for name, v in found.items()}
            log.info("%d/%d %s, seed %d: %s", number, len(tasks), path.stem, seed, shown)
        rows.append({"file": path.stem, "detectors": found})
    report(rows, output, cfg)


def report(rows: list[dict[str, Any]], output: Path, cfg: DictConfig) -> None:
    """Means over seeds a file, and over files."""
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, found in row["detectors"].items():
            cells[row["file"]][name].append(100 * found["auroc"])
            seconds[name].append(found["seconds"])
    table = {
        file: {name: float(np.mean(values)) for name, values in row.items()}
        for file, row in sorted(cells.items())
    }
    names = list(next(iter(table.values())))
    means = {name: float(np.mean([row[name] for row in table.values()])) for name in names}
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width
    shown = Table(title=f"ADBench, semi-supervised, {len(cfg.seeds)} seeds: AUROC, %")
    for column in ("", *names):
        shown.add_column(column, justify="right" if column else "left")
    for file, row in [*table.items(), ("mean", means)]:
        shown.add_row(file, *(f"{row[name]:.1f}" for name in names))
    shown.add_row("seconds a file", *(f"{np.mean(seconds[name]):.1f}" for name in names))
    console.print(shown)
    measured = {
        name: {"auroc": means[name] / 100}
        | {f"auroc {file}": row[name] / 100 for file, row in table.items()}
        | {"seconds": float(np.mean(seconds[name]))}
        for name in names
    }
    Report(
        model=measured.pop(OURS),
        peers=measured,
        data={"name": "ADBench", "files": sorted(table), "seeds": list(cfg.seeds)},
        conditions=conditions(train_rows=cfg.train_rows, test_rows=cfg.test_rows),
    ).write(output / "metrics.json")
    draw(table, output / "adbench.png")
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
