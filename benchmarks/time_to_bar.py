"""Child: seconds of training until a validation metric is as good as a bar.

`python benchmarks/time_to_bar.py <metric> <bar> <limit> <overrides of configs/train.yaml …>`

From the first step, compiling and all validations included, reading the data not. A training that
ends below the bar says so, and so does one that is stopped after `limit` seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from benchmarks.child import ROOT
from models.training import prepare_process


class Bar(pl.Callback):
    """Stops the training at the first validation that is good enough, or comes too late."""

    def __init__(self, metric: str, bar: float, limit: float) -> None:
        self.metric = metric
        self.bar = bar
        self.limit = limit
        self.started = self.seconds = 0.0
        self.best = float("-inf")
        self.epochs = 0

    def on_train_start(self, *args: Any) -> None:
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.best = max(self.best, float(trainer.callback_metrics[self.metric]))  # waits for it
        self.seconds = time.perf_counter() - self.started
        self.epochs = trainer.current_epoch + 1
        done = self.best >= self.bar or self.seconds >= self.limit
        trainer.should_stop = trainer.should_stop or done


def main() -> None:
    metric, bar, limit = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", sys.argv[4:], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    prepare_process(cfg)
    data = instantiate(cfg.datamodule)
    data.prepare()
    model = instantiate(cfg.model, **data.model_arguments())
    clock = Bar(metric, bar, limit)
    averaging = cfg.callbacks.get("average")  # weights that validation is of
    trainer = instantiate(
        cfg.trainer,
        callbacks=[instantiate(averaging), clock] if averaging else [clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, datamodule=data)
    cuda = trainer.strategy.root_device.type == "cuda"
    print(
        json.dumps(
            {
                "reached": clock.best >= bar,
                "seconds": clock.seconds,
                "best": clock.best,
                "epochs": clock.epochs,
                "device": torch.cuda.get_device_name() if cuda else "CPU",
            }
        )
    )


if __name__ == "__main__":
    main()
