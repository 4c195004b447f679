"""New items beside floors: `python benchmarks/cold_items.py path=<beauty> warehouse=<warehouse>`.

A random share of the items never occurs in training, neither as a target nor as a negative; every
interaction with one of them is then asked for, after what its user had touched before. It is ranked
twice: among the new items alone, and among the whole catalog without what the user touched. The
floors are random order, popularity in training, and nearest neighbours by content, whose kind of
content and weighting of the history are chosen on another share of new items, as the towers'
checkpoint is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.chart import bars
from models.pretrained import TextVectors
from models.recommender.classics.content import Content, TfidfText
from models.recommender.evaluation import RankingTask, Scorer, evaluate
from models.recommender.floors.popularity import Popularity
from models.recommender.retrieval.datamodule import RetrievalDataModule
from models.report import Report, conditions
from models.run import Run
from models.training import train
from scripts.entrypoint import CONFIGS, entrypoint

log = logging.getLogger(__name__)

KINDS = {("attributes",): 0.0, ("text",): 1.0, ("attributes", "text"): 0.5}  # → text's share


def training(cfg: DictConfig, name: str, seed: int, data: list[str]) -> DictConfig:
    """The configuration of `scripts/train.py` with items held back."""
    output = Path(cfg.output_dir) / f"{name}-{seed}"
    overrides = [
        *data,
        f"output_dir={output}",
        f"seed={seed}",
        f"threads={cfg.threads}",
        "export=none",
        "logger=none",
        "data.split._target_=models.recommender.retrieval.cold_items.ColdItems",
        f"+data.split.share={cfg.share}",
        f"+data.split.validation_share={cfg.validation_share}",
        f"+data.split.seed={seed}",
        "evaluation.floors=null",
        *cfg.overrides,
    ]
    running = HydraConfig.get()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("train", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(OmegaConf.create({"hydra": running}))
    composed.hydra.runtime.cwd = running.runtime.cwd
    resolved = OmegaConf.create(dict(composed.items_ex(resolve=False)))
    OmegaConf.resolve(resolved)
    with open_dict(resolved):
        del resolved["hydra"]
    return resolved


def drawn(task: RankingTask, questions: int) -> RankingTask:
    """At most so many of the questions, the same in every run."""
    rows = torch.randperm(len(task), generator=torch.Generator().manual_seed(0))[:questions]
    return RankingTask(
        task.histories.take(rows), task.targets[rows], task.users[rows], task.n_items
    )


def among(scorer: Scorer, allowed: Tensor) -> Scorer:
    """The scorer with all items but the allowed [V + 1] (bool) out of the race."""
    return lambda *asked: scorer(*asked).masked_fill(~allowed, -torch.inf)


def content_neighbours(cfg: DictConfig, data: RetrievalDataModule) -> Content:
    """The kind of content and the decay that rank the validation's new items best."""
    best, chosen = -1.0, None
    there = set(data.content.parts())
    items = data.items
    text = TextVectors(items.encoder, items.text_cache) if items.encoder else TfidfText()
    task = drawn(data.validation_task, cfg.questions)
    for kind, share in KINDS.items():
        if not set(kind) <= there:
            continue
        floor = Content(items, text, text_share=share, dims=cfg.dims)
        floor.fit(data.interactions, data.train)
        for decay in cfg.decays:
            floor.decay = decay
            found = evaluate(floor.score, task, max_length=data.max_length)
            if found["hit_rate@10"] > best:
                best, chosen = found["hit_rate@10"], (floor, decay)
                log.info("content %s, decay %s: validation %.4f", kind, decay, best)
    assert chosen is not None, "items without attributes and text have no neighbours"
    floor, floor.decay = chosen
    return floor


def measure(cfg: DictConfig, run: Run) -> Iterator[tuple[str, dict[str, float]]]:
    """Each row's metrics: `…` over all items, `cold_…` with new items as the only candidates."""
    data: RetrievalDataModule = run.data
    test = torch.zeros(data.n_items + 1, dtype=torch.bool)
    test[data.test_task.targets.unique()] = True
    task = drawn(data.test_task, cfg.questions)
    popularity = Popularity()
    popularity.fit(data.interactions, data.train)
    generator = torch.Generator().manual_seed(0)
    model = run.model.eval()
    rows: dict[str, Scorer] = {
        "random": lambda h: torch.rand(len(h), data.n_items + 1, generator=generator),
        "popularity": popularity.score,
        "content neighbours": content_neighbours(cfg, data).score,
        "two towers": model.score,
    }
    for name, scorer in rows.items():
        whose = name == "two towers" and model.knows_users
        length = data.max_length
        everything = evaluate(scorer, task, max_length=length, with_users=whose)
        cold = evaluate(among(scorer, test), task, max_length=length, with_users=whose)
        yield name, everything | {f"cold_{k}": v for k, v in cold.items()}


@entrypoint("benchmark/cold_items")
def main(cfg: DictConfig) -> None:
    """Train, measure and draw every data set and seed."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    sets = {}
    if cfg.path:
        sets["beauty"] = ["experiment=recommender/two_tower_beauty", f"data.path={cfg.path}"]
    if cfg.warehouse:
        sets["marketplace"] = [
            "experiment=recommender/two_tower",
            f"paths.warehouse={cfg.warehouse}",
        ]
    if not sets:
        raise ValueError("give path=…, warehouse=…, or both")
    console = Console(width=None if sys.stdout.isatty() else 120)
    shown = ("cold_hit_rate@10", "cold_ndcg@10", "hit_rate@10", "ndcg@10")
    model: dict[str, float] = {}
    floors: dict[str, dict[str, float]] = {}
    panels = {}
    for name, overrides in sets.items():
        found: dict[str, list[dict[str, float]]] = {}
        questions = []
        started = time.perf_counter()
        for seed in cfg.seeds:
            settings = training(cfg, name, seed, overrides)
            train(settings)
            run = Run.open(Path(settings.output_dir))
            questions.append(min(len(run.data.test_task), cfg.questions))
            for row, metrics in measure(cfg, run):
                found.setdefault(row, []).append(metrics)
        means = {
            row: {k: float(np.mean([m[k] for m in many])) for k in many[0]}
            for row, many in found.items()
        }
        seconds = time.perf_counter() - started
        table = Table(
            title=f"{name}: {np.mean(questions):,.0f} questions for items unseen in training, "
            f"{len(cfg.seeds)} seeds, {seconds:.0f} s"
        )
        table.add_column("")
        for column in shown:
            table.add_column(column, justify="right")
        for row, metrics in means.items():
            table.add_row(row, *(f"{metrics[column]:.4f}" for column in shown))
            if row == "two towers":
                model |= {f"{name} {k}": v for k, v in metrics.items()}
            else:
                floors.setdefault(row, {}).update({f"{name} {k}": v for k, v in metrics.items()})
        console.print(table)
        panels[f"{name}, new items only"] = {r: m["cold_hit_rate@10"] for r, m in means.items()}
        panels[f"{name}, all items"] = {r: m["hit_rate@10"] for r, m in means.items()}
    Report(
        model=model,
        floors=floors,
        data={"name": ", ".join(sets)},
        conditions=conditions(threads=cfg.threads, seeds=list(cfg.seeds), share=cfg.share),
    ).write(output / "metrics.json")
    bars(panels, "HR@10", output / "cold_items.png")
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
