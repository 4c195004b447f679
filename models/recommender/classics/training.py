"""Fit, measure and export any classic: config in, metrics and an artifact out.

It knows no model: the `datamodule`, `model`, `evaluation` and `export` nodes of the config do.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.fitted import save
from models.recommender.classics.model import Classic
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.evaluation import evaluate
from models.report import Report, conditions
from models.training import prepare_process

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, float]:
    """Fit, tune on validation, test beside the floors and export what `cfg` describes.

    Returns the test metrics by plain names and the validation metrics as `val_…`. Leaves in
    `cfg.output_dir`: config.yaml, checkpoints/best.ckpt with what was fitted, metrics.json with the
    artifact's path, rejects.csv where there were bad rows.

    Raises:
        DataError: nothing to learn from or to evaluate.
        ParityError: the exported graph does not answer as the fitted model does.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)

    data: InteractionsDataModule = instantiate(cfg.datamodule)
    data.prepare()
    model: Classic = instantiate(cfg.model)
    fit_started = time.perf_counter()
    model.fit(data.interactions, data.train)
    fit_seconds = time.perf_counter() - fit_started
    model.tune(data.validation_task, data.max_length)
    with torch.inference_mode():
        measured = evaluate(model.score, data.validation_task, max_length=data.max_length)
    validation = {f"val_{name}": value for name, value in measured.items()}
    log.info("fitted (%.1f s): val_ndcg@10 %.4f", fit_seconds, validation["val_ndcg@10"])

    if cfg.keep_fitted:
        save(model, data, output / "checkpoints" / "best.ckpt")

    report: Report = instantiate(cfg.evaluation)(model, data)
    report.conditions = conditions(seed=cfg.seed) | {
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": round(fit_seconds, 1),
        "validation": {cfg.objective: validation.get(cfg.objective)},
    }
    if cfg.export:
        report.artifact = str(instantiate(cfg.export)(model, data, report, cfg))
    report.write(output / "metrics.json")
    report.print()
    return report.model | validation
