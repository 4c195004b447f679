"""A picture of each training run: losses and validation metrics over epochs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytorch_lightning as pl
from matplotlib.ticker import MaxNLocator


class Curves(pl.Callback):
    """Draw `curves.png` into a folder after every validation.

    Args:
        metrics: validation metrics to draw beside the training loss.
    """

    def __init__(self, folder: str | Path, metrics: list[str]) -> None:
        self.folder = Path(folder)
        self.metrics = metrics
        self.history: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def state_dict(self) -> dict[str, list[tuple[int, float]]]:
        return dict(self.history)

    def load_state_dict(self, state_dict: dict[str, list[tuple[int, float]]]) -> None:
        self.history = defaultdict(list, state_dict)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name in ("train_loss_epoch", *self.metrics):
            if name in trainer.callback_metrics:
                point = (trainer.current_epoch + 1, float(trainer.callback_metrics[name]))
                self.history[name].append(point)
        if trainer.is_global_zero and self.history:
            self._draw()

    def _draw(self) -> None:
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        for name, points in self.history.items():
            axis = left if name == "train_loss_epoch" else right
            # Without markers, a run of one epoch would draw nothing.
            axis.plot(*zip(*points, strict=True), marker=".", label=name)
        left.set(xlabel="epoch", ylabel="training loss")
        right.set(xlabel="epoch", ylabel="validation")
        if len(self.history) > 1:
            right.legend()
        for axis in (left, right):
            axis.grid(alpha=0.3)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / "curves.png", dpi=110)
        plt.close(figure)
