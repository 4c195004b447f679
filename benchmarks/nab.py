"""The Numenta Anomaly Benchmark: `python benchmarks/nab.py path=<its folder>`.

Our streaming detector and the floors, each file from scratch and in order, with thresholds found
without labels; beside them the score of the one threshold that looks best with labels, as the
published figures have it. Limits: the score is of the files that are there, and published ones are
of all 58.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import hydra
import matplotlib
import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.chart import bars
from models.anomaly.nab.files import Series, read
from models.anomaly.nab.run import Judged, best_with_labels, judge, settling
from models.anomaly.nab.scoring import Profile, corpus_score, read_profiles
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Found = dict[str, Judged]


def run(cfg: DictConfig, corpus: list[Series], name: str) -> tuple[Found, float]:
    """Judge every file; seconds that scoring took."""
    found: Found = {}
    seconds = 0.0
    make = hydra.utils.instantiate(cfg.threshold)
    for series in track(corpus, description=name, console=Console(stderr=True)):
        settle = settling(len(series.values), cfg.settle)
        began = time.perf_counter()
        scorer = (
            hydra.utils.instantiate(cfg.detector)(settle=settle)
            if name == "millrace"
            else hydra.utils.instantiate(cfg.floors[name])
        )
        found[series.name] = judge(series, scorer.score(series.values), settle, make, cfg.quiet)
        seconds += time.perf_counter() - began
    return found, seconds


def measure(
    corpus: list[Series], found: Found, profiles: dict[str, Profile], quiet: int
) -> dict[str, float]:
    """All figures of one detector."""
    rows = {s.name: len(s.values) for s in corpus}
    windows = {s.name: s.windows for s in corpus}
    alarms = {name: judged.alarms for name, judged in found.items()}
    figures: dict[str, float] = {}
    for name, profile in profiles.items():
        figures[f"nab_{name}"], parts = corpus_score(rows, windows, alarms, profile)
        figures |= {"windows": parts.windows, "caught": parts.caught}
        figures |= {"false_alarms": parts.false_alarms}
    scores = {name: judged.score for name, judged in found.items()}
    best, level, _ = best_with_labels(corpus, scores, profiles["standard"], quiet)
    return figures | {"nab_standard_label_optimised": best, "label_optimised_threshold": level}


def draw(corpus: list[Series], found: Found, path: Path) -> None:
    """Every file: its values, the labelled windows, the alarms."""
    height = -(-len(corpus) // 3)
    figure, axes = plt.subplots(height, 3, figsize=(18, 1.6 * height), layout="constrained")
    for axis in np.ravel(axes)[len(corpus) :]:
        axis.axis("off")
    for axis, series in zip(np.ravel(axes), corpus, strict=False):
        axis.plot(series.values, linewidth=0.5, color="#5b7083")
        for first, last in series.windows:
            axis.axvspan(first, last, color="#e8b04a", alpha=0.4, linewidth=0)
        alarms = found[series.name].alarms
        axis.plot(alarms, series.values[alarms], "v", color="#c2571a", markersize=5)
        axis.set_title(series.name, fontsize=8, loc="left")
        axis.tick_params(labelsize=6)
        axis.margins(x=0)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def show(rows: dict[str, dict[str, float]], console: Console) -> None:
    """The table: thresholds without labels, and in the last column with them."""
    table = Table(title="NAB, thresholds without labels")
    for column in ("", "standard", "low FP", "low FN", "caught", "false alarms", "with labels"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(
            name, *(f"{row[f'nab_{p}']:.1f}" for p in
                    ("standard", "reward_low_FP_rate", "reward_low_FN_rate")),
            f"{row['caught']:.0f} of {row['windows']:.0f}", f"{row['false_alarms']:.0f}",
            f"{row['nab_standard_label_optimised']:.1f}",
        )  # fmt: skip
    console.print(table)


@entrypoint("benchmark/nab")
def main(cfg: DictConfig) -> None:
    """Score every file with every detector, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    folder = Path(cfg.path).resolve()
    corpus, profiles = read(folder), read_profiles(folder / "config/profiles.json")
    rows: dict[str, dict[str, float]] = {}
    for name in ("millrace", *cfg.floors):
        found, seconds = run(cfg, corpus, name)
        rows[name] = measure(corpus, found, profiles, cfg.quiet) | {"seconds": seconds}
        if name == "millrace":
            draw(corpus, found, output / "files.png")
    show(rows, Console(width=None if sys.stdout.isatty() else 120))
    panels = {
        "standard, without labels": {k: r["nab_standard"] for k, r in rows.items()},
        "standard, best threshold with labels": {
            k: r["nab_standard_label_optimised"] for k, r in rows.items()
        },
    }
    bars(panels, "NAB score", output / "nab.png")
    ours = rows.pop("millrace")
    total = sum(len(s.values) for s in corpus)
    Report(
        model=ours,
        floors=rows,
        data={"name": "nab", "rows": total, "files": len(corpus)},
        conditions=conditions(seed=0),
    ).write(output / "metrics.json")


if __name__ == "__main__":
    main()
