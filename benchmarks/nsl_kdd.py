"""Detectors on NSL-KDD: `python benchmarks/nsl_kdd.py path=<folder of its .txt files>`.

Normal rows of the training file train; nothing is chosen by the test files. An event is called an
attack where its surprise exceeds what a configured share of normal events reaches, so the threshold
needs no labels either.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

import pytorch_lightning  # noqa: F401  its import sets log levels; Hydra has the last word
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

import models.training  # noqa: F401  which silences what Lightning says of its own internals
from models.anomaly.evaluation import ranking
from models.anomaly.readers.nsl_kdd import NSLKDDReader
from models.anomaly.telemetry import ANOMALOUS, NORMAL
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


@entrypoint("benchmark/nsl_kdd")
def main(cfg: DictConfig) -> None:
    """Fit every detector of the config, measure it on every test file, print a table."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    torch.set_num_threads(cfg.threads)
    folder = Path(cfg.path)
    train = NSLKDDReader(folder / cfg.train).read()
    train = train.take(train.label == NORMAL)
    tests = {name: NSLKDDReader(folder / name).read() for name in cfg.tests}
    threshold = -math.log10(cfg.false_alarms)
    measured: dict[str, dict[str, Any]] = {}
    for name, settings in cfg.detectors.items():
        detector = instantiate(settings)
        started = time.perf_counter()
        detector.fit(train)
        log.info("%s: %.0f s of training", name, time.perf_counter() - started)
        for file, test in tests.items():
            score = detector.score(test).score
            right = (score > threshold) == (test.label == ANOMALOUS)
            row = ranking(test.label, score) | {"accuracy": float(right.mean())}
            measured.setdefault(name, {}).update({f"{file} {k}": v for k, v in row.items()})
    majority = {
        f"{file} accuracy": float(max((t.label == ANOMALOUS).mean(), (t.label == NORMAL).mean()))
        for file, t in tests.items()
    }
    table = Table(title=f"NSL-KDD, {len(train):,} normal rows of {len(train.fields)} fields")
    rows = measured | {"the more frequent class": majority}
    table.add_column("")
    columns = list(next(iter(measured.values())))
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[c]:.3f}" if c in row else "–" for c in columns))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    Report(
        model={f"{n} {k}": v for n, row in measured.items() for k, v in row.items()},
        floors={"the more frequent class": majority},
        data={"name": "NSL-KDD", "train_rows": len(train), "fields": len(train.fields)},
        conditions=conditions(seed=cfg.seed, threads=cfg.threads, false_alarms=cfg.false_alarms),
    ).write(output / "metrics.json")


if __name__ == "__main__":
    main()
