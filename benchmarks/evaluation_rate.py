"""Child: users a second of our full-ranking evaluation, the configuration given by overrides.

`python benchmarks/evaluation_rate.py <passes> <overrides of configs/train.yaml …>`

A pass answers every test user: histories to padded batches, scores of all items, seen items
removed, ranks, and all metrics at every list length. The weights are those that training starts
from: they cost what trained ones cost.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from benchmarks.child import ROOT
from models.recommender.evaluation import evaluate
from models.training import prepare_process


def main() -> None:
    passes = int(sys.argv[1])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", sys.argv[2:], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    prepare_process(cfg)
    data = instantiate(cfg.datamodule)
    data.prepare()
    model = instantiate(cfg.model, **data.model_arguments()).eval()
    seconds = []
    for _ in range(passes):
        started = time.perf_counter()
        metrics = evaluate(
            model.score,
            data.test_task,
            max_length=data.max_length,
            ks=cfg.evaluation.ks,
            batch_size=cfg.evaluation.batch_size,
        )
        seconds.append(time.perf_counter() - started)
    users = len(data.test_task)
    print(
        json.dumps(
            {
                "users_per_s": users / min(seconds),
                "users": users,
                "metrics": len(metrics),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
