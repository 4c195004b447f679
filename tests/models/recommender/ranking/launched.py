"""What `torchrun` starts in tests: `launched.py <data> <output> <overrides …>`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from models.training import train
from tests.models.recommender.ranking.test_training import config

torch.set_num_threads(1)
train(
    config(
        Path(sys.argv[1]), Path(sys.argv[2]), "trainer=sharded", "trainer.accelerator=cpu",
        "trainer.precision=32-true", "evaluation.floors=null", "export=none", "logger=none",
        "callbacks.curves=null", *sys.argv[3:],
    )
)  # fmt: skip
