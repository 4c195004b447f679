"""Several models on the same random folds: errors and rankings, and how sure they are."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from models.recommender.classics.model import Classic
from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.interactions import DataError, Interactions
from models.recommender.intervals import Interval, t_interval
from models.recommender.ratings.assessment import RatingAssessment
from models.recommender.ratings.data import describe, read
from models.recommender.ratings.evaluation import relevant
from models.recommender.ratings.model import RatingModel, learn
from models.recommender.splits import RandomFolds, Split
from models.report import Report, conditions
from models.training import prepare_process

matplotlib.use("Agg")
import matplotlib.pyplot as plt

log = logging.getLogger(__name__)

Summary = dict[str, Interval]  # metric → what the folds say of it


@dataclass
class Protocol:
    """How a fold is measured, the same for every model.

    Args:
        ks: list lengths of the rank metrics.
        relevant_from: least rating of a held-out item that a good list would show; None: any.
        max_length: most recent items of a history that a ranking model reads.
        batch_size: questions ranked at once.
    """

    ks: Sequence[int]
    relevant_from: float | None
    max_length: int
    batch_size: int

    def measure(
        self, model: Classic | RatingModel, data: Interactions, split: Split
    ) -> dict[str, float]:
        """Fit on the other folds, tuned on the one that validates, and test on the held-out one."""
        known = split.train | split.validation
        started = time.perf_counter()
        if isinstance(model, RatingModel):
            learn(model, data, split.train, split.validation)
            spent = {"fit_s": time.perf_counter() - started}
            assess = RatingAssessment(None, self.ks, self.relevant_from, self.batch_size)
            return assess.measure(model, data, known, split.test) | spent
        if model.tunable:
            model.fit(data, split.train)
            wanted = relevant(data, split.validation, self.relevant_from)
            model.tune(RankingTask.of_users(data, split.train, wanted), self.max_length)
        model.fit(data, known)
        spent = {"fit_s": time.perf_counter() - started}
        task = RankingTask.of_users(data, known, relevant(data, split.test, self.relevant_from))
        with torch.inference_mode():
            return evaluate(
                model.score, task, max_length=self.max_length, ks=self.ks,
                batch_size=self.batch_size,
            ) | spent  # fmt: skip


def cross_validate(cfg: DictConfig) -> dict[str, Summary]:
    """Measure `cfg.model` and `cfg.floors` on every fold; prints a table.

    Leaves in `cfg.output_dir`: config.yaml, metrics.json (means, and `…_low` and `…_high` of the
    intervals; each fold's figures under conditions), folds.png.

    Raises:
        DataError: data that cannot be learnt from, or too few folds.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)
    if not 0 < cfg.confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, not {cfg.confidence}")
    data = read(instantiate(cfg.data.reader), cfg.data.name)
    if len(data) < cfg.folds:
        raise DataError(f"{len(data)} interactions cannot fill {cfg.folds} folds")
    protocol: Protocol = instantiate(cfg.protocol)
    candidates = {"model": cfg.model, **{k: v for k, v in (cfg.floors or {}).items() if v}}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    done = 0
    for fold in range(cfg.folds):
        split = RandomFolds(cfg.folds, fold, cfg.seed).split(data)
        for name, node in candidates.items():
            begun = time.perf_counter()
            measured = protocol.measure(instantiate(node), data, split)
            figures[name].append(measured)
            done += 1
            left = (time.perf_counter() - started) / done * (cfg.folds * len(candidates) - done)
            shown = [f"{k} {measured[k]:.4f}" for k in ("rmse", "mae", "ndcg@10") if k in measured]
            log.info(
                "fold %d/%d, %s: %s (%.0f s, about %.0f s left)", fold + 1, cfg.folds, name,
                ", ".join(shown), time.perf_counter() - begun, left,
            )  # fmt: skip
    summaries = {name: summary(rows, cfg.confidence) for name, rows in figures.items()}
    report = Report(
        model=_flat(summaries["model"]),
        floors={name: _flat(s) for name, s in summaries.items() if name != "model"},
        data=describe(cfg.data.name, data),
        conditions=conditions(seed=cfg.seed)
        | {
            "folds": cfg.folds,
            "confidence": cfg.confidence,
            "seconds": round(time.perf_counter() - started, 1),
            "each_fold": figures,
        },
    )
    report.write(output / "metrics.json")
    console = Console(width=None if sys.stdout.isatty() else 160)  # a log has no width
    console.print(table(summaries, cfg.data.name, cfg.folds, cfg.confidence))
    draw(figures, summaries, cfg.plotted, output / "folds.png")
    return summaries


def summary(rows: Sequence[Mapping[str, float]], confidence: float) -> Summary:
    """Intervals of all metrics that every fold has."""
    shared = [m for m in rows[0] if all(m in row for row in rows)]
    return {m: t_interval([row[m] for row in rows], confidence) for m in shared}


def table(summaries: Mapping[str, Summary], name: str, folds: int, confidence: float) -> Table:
    """A row for each metric, a column for each model: mean ± half the interval."""
    shown = Table(title=f"{name}: {folds} folds, mean ± half of the {confidence:.0%} interval")
    shown.add_column("metric")
    for candidate in summaries:
        shown.add_column(candidate, justify="right", style="bold" if candidate == "model" else None)
    metrics = dict.fromkeys(m for s in summaries.values() for m in s)
    for metric in metrics:
        cells = [
            f"{s[metric].mean:.4f} ± {s[metric].high - s[metric].mean:.4f}" if metric in s else "–"
            for s in summaries.values()
        ]
        shown.add_row(metric, *cells)
    return shown


def draw(
    figures: Mapping[str, Sequence[Mapping[str, float]]],
    summaries: Mapping[str, Summary],
    metrics: Sequence[str],
    path: Path,
) -> None:
    """A panel for each metric: every fold a dot, the mean and its interval a bar."""
    panels = [m for m in metrics if any(m in s for s in summaries.values())]
    if not panels:
        return
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.5 * len(panels), 1.4 + 0.45 * len(summaries)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis, metric in zip(axes[0], panels, strict=True):
        names = [n for n, s in summaries.items() if metric in s][::-1]
        for height, name in enumerate(names):
            interval = summaries[name][metric]
            values = np.array([row[metric] for row in figures[name]])
            colour = "#c2571a" if name == "model" else "#8a9ba8"
            axis.plot(values, np.full(len(values), height), "o", alpha=0.4, color=colour)
            axis.errorbar(
                interval.mean, height, xerr=interval.high - interval.mean, fmt="D", capsize=4,
                color=colour,
            )  # fmt: skip
        axis.set_yticks(range(len(names)), names)
        axis.set(title=metric, ylim=(-0.6, len(names) - 0.4))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _flat(summary: Summary) -> dict[str, float]:
    flat: dict[str, float] = {}
    for metric, interval in summary.items():
        flat |= {metric: interval.mean, f"{metric}_low": interval.low}
        flat[f"{metric}_high"] = interval.high
    return flat
