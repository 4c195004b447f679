"""Child: training sequences per second of our trainer, on the configuration given by overrides.

`python benchmarks/training_rate.py <warm-up steps> <steps> <overrides of configs/train.yaml …>`
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from benchmarks.child import ROOT
from models.training import prepare_process


class Clock(pl.Callback):
    """Times steps after the warm-up ones, the gathering of batches included."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.sequences = 0
        self.started = self.ended = 0.0

    def on_train_batch_end(self, *args: Any) -> None:
        _, _, _, batch, index = args
        self.ended = time.perf_counter()
        if index < self.warmup:
            self.started = self.ended
        else:
            self.sequences += len(batch)


def main() -> None:
    warmup, steps = int(sys.argv[1]), int(sys.argv[2])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", sys.argv[3:], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    prepare_process(cfg)
    data = instantiate(cfg.datamodule)
    data.prepare()
    model = instantiate(cfg.model, **data.model_arguments())
    clock = Clock(warmup)
    trainer = instantiate(
        cfg.trainer,
        max_epochs=1,
        limit_train_batches=warmup + steps,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, datamodule=data)
    rate = clock.sequences / (clock.ended - clock.started)
    print(json.dumps({"sequences_per_s": rate, "sequences": clock.sequences}))


if __name__ == "__main__":
    main()
