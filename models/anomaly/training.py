"""Train, measure and export any detector: config in, metrics and an artifact out.

It knows no detector: the `data`, `model`, `evaluation` and `export` nodes of the config do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.anomaly.detector import Detector, Scores
from models.anomaly.evaluation import alarms, floors, ranking
from models.anomaly.readers.incidents import labelled
from models.anomaly.splits import Split
from models.anomaly.telemetry import ANOMALOUS, Telemetry
from models.anomaly.unmarked import usual
from models.report import Report, conditions
from models.training import prepare_process

log = logging.getLogger(__name__)


def fit(detector: Detector, telemetry: Telemetry) -> None:
    """How a detector learns unless somebody says otherwise."""
    detector.fit(telemetry)


def train(cfg: DictConfig, learn: Callable[[Detector, Telemetry], None] = fit) -> dict[str, float]:
    """Train, evaluate and export the detector that `cfg` describes; returns its metrics.

    Leaves in `cfg.output_dir`: config.yaml, metrics.json with the artifact's path, rejects.csv
    where there were bad rows.

    Raises:
        TelemetryError: data that cannot be learnt from.
        ParityError: the exported graph does not answer as the fitted detector does.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)

    split: Split = instantiate(cfg.data.split)(instantiate(cfg.data.reader).read())
    if cfg.data.get("truth"):
        split = split._replace(test=labelled(split.test, cfg.data.truth))
    # Thresholds are set on normal rows that came after those that were learnt from; without what
    # looks like incidents that nobody marked.
    # Alarms that nobody judged are not learnt from, but stay where thresholds are set: without
    # them each training would cut the tail, and the threshold would sink from one to the next.
    learnt, held_out = instantiate(cfg.data.hold_out)(split.train)
    learnt, held_out = learnt.learnable(), held_out.undoubted()
    split = Split(split.train.learnable(), split.test.undoubted())
    counts = len(learnt), len(held_out), len(split.test)
    log.info("%d rows to learn from, %d held out, %d to test on", *counts)
    detector: Detector = instantiate(cfg.model)
    fit_started = time.perf_counter()
    learn(detector, learnt)
    fit_seconds = time.perf_counter() - fit_started
    normal_scores = detector.score(held_out).score[held_out.label != ANOMALOUS]
    normal_scores = normal_scores[usual(normal_scores)]

    report = evaluate(cfg, detector, split)
    validation: dict[str, float] = getattr(detector, "validation", {})
    report.conditions = conditions(seed=cfg.seed) | {
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": round(fit_seconds, 1),
        "validation": validation,
    }
    if cfg.export:
        path = instantiate(cfg.export)(detector, split.test, normal_scores, report, cfg)
        report.artifact = str(path)
    report.write(output / "metrics.json")
    report.print()
    return report.model | validation


def evaluate(cfg: DictConfig, detector: Detector, split: Split) -> Report:
    """The detector on the test rows, beside its floors."""
    chosen = instantiate(cfg.evaluation)
    scores: Scores = detector.score(split.test)
    measured = ranking(split.test.label, scores.score)
    measured |= alarms(split.test.label, scores.score, chosen["threshold"])
    return Report(
        model=measured,
        floors=floors(split.train, split.test, chosen["floors"], chosen["floor_rows"]),
        data=describe(cfg, split),
    )


def describe(cfg: DictConfig, split: Split) -> dict[str, Any]:
    """What was read, for metrics.json and the model card."""
    return {
        "name": cfg.data.name,
        "detector": cfg.model._target_,
        "fields": list(split.train.fields),
        "sources": len(split.train.sources),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "test_anomalies": int((split.test.label == ANOMALOUS).sum()),
    }
