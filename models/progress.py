"""Progress as log lines: what a run says where no terminal draws a bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """Log one line after each epoch: loss, validation metrics, seconds, what is left at most.

    Args:
        metrics: validation metrics to name beside the training loss.
    """

    def __init__(self, metrics: Sequence[str] = ("val_hit_rate@10", "val_ndcg@10")) -> None:
        self.metrics = metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self.started
        metrics = trainer.callback_metrics
        shown = [
            f"{name} {float(metrics[name]):.4f}"
            for name in ("train_loss_epoch", *self.metrics)
            if name in metrics
        ]
        epoch = trainer.current_epoch + 1
        left = seconds * (trainer.max_epochs - epoch) if trainer.max_epochs else 0
        log.info(
            "epoch %d/%s: %s (%.0f s, at most %.0f min left)",
            epoch,
            trainer.max_epochs,
            ", ".join(shown),
            seconds,
            left / 60,
        )
