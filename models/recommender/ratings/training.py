"""Fit, measure and export any rating model: config in, metrics and an artifact out."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.recommender.interactions import Interactions
from models.recommender.ratings.evaluation import errors
from models.recommender.ratings.model import RatingModel, learn
from models.recommender.splits import Split
from models.report import Report, conditions
from models.training import prepare_process

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, float]:
    """Fit on training ratings, tune on validation, learn from both, test, export.

    Returns the test metrics by plain names and validation's, of the first fit, as `val_…`. Leaves
    in `cfg.output_dir`: config.yaml, metrics.json with the artifact's path, rejects.csv where
    there were bad rows.

    Raises:
        DataError: nothing to learn from or to evaluate.
        ParityError: the exported graph does not answer as the fitted model does.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)

    data = read(cfg)
    split: Split = instantiate(cfg.data.split).split(data)
    model: RatingModel = instantiate(cfg.model)
    fit_started = time.perf_counter()
    validation = learn(model, data, split.train, split.validation, errors)
    fit_seconds = time.perf_counter() - fit_started
    log.info("fitted (%.1f s): %s", fit_seconds, validation)

    report: Report = instantiate(cfg.evaluation)(model, data, split)
    report.data = describe(cfg.data.name, data)
    report.conditions = conditions(seed=cfg.seed) | {
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": round(fit_seconds, 1),
        "validation": validation,
    }
    if cfg.export:
        report.artifact = str(instantiate(cfg.export)(model, data, split.test, report, cfg))
    report.write(output / "metrics.json")
    report.print()
    return report.model | validation


def newest_of_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Of each pair of user and item the newest row, in the order of the input.

    Of equal times the later row of the input is the newer, as everywhere.
    """
    numbered = frame.with_row_index("row")
    ordered = numbered.sort("timestamp", "row").unique(
        ["user_id", "item_id"], keep="last", maintain_order=True
    )
    return ordered.sort("row").drop("row")


def read(cfg: DictConfig) -> Interactions:
    """What the config's reader reads, coded; of a pair that is rated again, only the newest."""
    frame: pl.DataFrame = instantiate(cfg.data.reader).read()
    once = newest_of_pairs(frame)
    if len(once) < len(frame):
        again = len(frame) - len(once)
        log.warning("%d interactions repeat a pair of user and item: the newest counts", again)
    data = Interactions.from_frame(once)
    log.info(
        "%s: %d interactions, %d users, %d items", cfg.data.name, len(data), data.n_users,
        data.n_items,
    )  # fmt: skip
    return data


def describe(name: str, data: Interactions) -> dict[str, object]:
    """The `data` part of `metrics.json`."""
    return {"name": name, "rows": len(data), "users": data.n_users, "items": data.n_items,
            "sha256": data.sha256()}  # fmt: skip
