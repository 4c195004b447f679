"""Fit, measure and export any rating model: config in, metrics and an artifact out."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.fitted import save
from models.recommender.ratings.data import RatingsData
from models.recommender.ratings.evaluation import errors
from models.recommender.ratings.model import RatingModel, learn
from models.report import Report, conditions
from models.training import prepare_process

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, float]:
    """Fit on training ratings, tune on validation, learn from both, test, export.

    Returns the test metrics by plain names and validation's, of the first fit, as `val_…`. Leaves
    in `cfg.output_dir`: config.yaml, checkpoints/best.ckpt with what was fitted, metrics.json with
    the artifact's path, rejects.csv where there were bad rows.

    Raises:
        DataError: nothing to learn from or to evaluate.
        ParityError: the exported graph does not answer as the fitted model does.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)

    data: RatingsData = instantiate(cfg.datamodule)
    data.prepare()
    split = data.split
    model: RatingModel = instantiate(cfg.model)
    fit_started = time.perf_counter()
    validation = learn(model, data.interactions, split.train, split.validation, errors)
    fit_seconds = time.perf_counter() - fit_started
    shown = ", ".join(f"{name} {value:.4f}" for name, value in validation.items())
    log.info("fitted (%.1f s): %s", fit_seconds, shown)
    if cfg.keep_fitted:
        save(model, data, output / "checkpoints" / "best.ckpt")

    report: Report = instantiate(cfg.evaluation)(model, data)
    report.conditions = conditions(seed=cfg.seed) | {
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": round(fit_seconds, 1),
        "validation": validation,
    }
    if cfg.export:
        report.artifact = str(instantiate(cfg.export)(model, data, report, cfg))
    report.write(output / "metrics.json")
    report.print()
    return report.model | validation
