"""Child: samples per second of training a DLRM on one device, on synthetic rows.

`python benchmarks/ranking_rate.py <config.yaml> <overrides of configs/train.yaml …>`

It is the training that `trainer=sharded` runs (Lightning, `DistributedModelParallel`, fused row
updates), but for where rows come from: batches lie on the device. Tables are made there too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.child import ROOT
from models.recommender.ranking.examples import Batch
from models.recommender.ranking.nets.net import RankingNet
from models.recommender.ranking.shape import Shape, Table
from models.recommender.ranking.sparse import EmbeddingBagCollection, KeyedJaggedTensor
from models.training import prepare_process


def sizes(cfg: DictConfig) -> list[int]:
    """Rows of each table."""
    return [min(int(rows), int(cfg.most_rows)) for rows in cfg.rows]


def shape(cfg: DictConfig) -> Shape:
    """The benchmark's inputs, with tables of one row each."""
    count = cfg.dense
    return Shape(
        tables=[Table(f"C{n}", 1, (f"C{n}",)) for n in range(1, len(cfg.rows) + 1)],
        dense=[f"I{n}" for n in range(1, count + 1)],
        log=[True] * count,
        center=[0.0] * count,
        scale=[1.0] * count,
        base_rate=0.25,
    )


def give_rows(net: RankingNet, rows: list[int]) -> None:
    """Tables of their real sizes, which take no memory before they are sharded."""
    configs = net.embeddings.embedding_bag_configs()
    for config, count in zip(configs, rows, strict=True):
        config.num_embeddings = count
    net.embeddings = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))


def rows_of(cfg: DictConfig, size: int, device: torch.device, seed: int) -> Batch:
    """Rows with one id a field, as Criteo's have."""
    random = torch.Generator(device).manual_seed(seed)
    uniform = torch.rand(len(cfg.rows), size, generator=random, device=device, dtype=torch.float64)
    limits = torch.tensor(sizes(cfg), device=device)[:, None]
    ids = (uniform**cfg.skew * limits).long().clamp_(max=limits - 1)
    bags = KeyedJaggedTensor(
        keys=[f"C{n}" for n in range(1, len(cfg.rows) + 1)],
        values=ids.flatten(),
        lengths=torch.ones(ids.numel(), dtype=torch.int32, device=device),
        stride=size,
    )
    dense = torch.rand(size, cfg.dense, generator=random, device=device) * 100
    label = (torch.rand(size, generator=random, device=device) < 0.25).float()
    return Batch(dense, bags, label)


class Rows(IterableDataset[Batch]):
    """The same batches in turn, for ever."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self.batches


class Clock(pl.Callback):
    """Seconds of the steps after the warm-up ones, until the device has done them."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.started = self.seconds = 0.0

    def on_train_batch_end(self, *args: Any) -> None:
        trainer, _, _, _, index = args
        if index == self.warmup - 1:
            self.started = self._now(trainer)
        elif index == trainer.limit_train_batches - 1:
            self.seconds = self._now(trainer) - self.started

    def _now(self, trainer: pl.Trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def dense_flops(net: RankingNet, cfg: DictConfig) -> float:
    """Floating-point operations of a sample's way through the dense part, there and back.

    Counted, not derived: matrix products of the forward and the backward pass.
    """
    count = 16
    pooled = torch.zeros(count, len(cfg.rows), net.dim, requires_grad=True)
    dense = torch.zeros(count, cfg.dense)
    with FlopCounterMode(display=False) as counter:
        logits = net.head(net.dense_input(dense), pooled)
        F.binary_cross_entropy_with_logits(logits, torch.zeros(count)).backward()
    net.zero_grad(set_to_none=True)
    return counter.get_total_flops() / count


def table_bytes(batches: list[Batch], cfg: DictConfig) -> float:
    """Bytes of a sample that tables must at least move, on average.

    Each look-up reads a row of 4-byte numbers; the update reads and writes each different row of
    a batch once, with one 4-byte sum of squares.
    """
    moved = 0
    for batch in batches:
        ids = batch.bags.values().view(len(cfg.rows), -1)
        different = sum(len(column.unique()) for column in ids)
        moved += ids.numel() * 4 * cfg.dim + different * 2 * (4 * cfg.dim + 4)
    return moved / sum(len(b.label) for b in batches)


def main() -> None:
    cfg = OmegaConf.load(sys.argv[1])
    assert isinstance(cfg, DictConfig)
    ranking = cfg.ranking
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("train", sys.argv[2:], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    prepare_process(composed)
    clock = Clock(ranking.warmup)
    trainer: pl.Trainer = instantiate(
        composed.trainer,
        max_epochs=1,
        limit_train_batches=ranking.warmup + ranking.steps,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    device = trainer.strategy.root_device
    model = instantiate(composed.model, shape=shape(ranking))
    flops = dense_flops(model.net, ranking)
    give_rows(model.net, sizes(ranking))
    batches = [
        rows_of(ranking, ranking.batch, device, ranking.seed + n) for n in range(ranking.batches)
    ]
    trainer.fit(model, DataLoader(Rows(batches), batch_size=None))
    cuda = device.type == "cuda"
    print(
        json.dumps(
            {
                "samples_per_s": ranking.steps * ranking.batch / clock.seconds,
                "flops_per_sample": flops,
                "table_bytes_per_sample": table_bytes(batches, ranking),
                "peak_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
                "device": torch.cuda.get_device_name() if cuda else "CPU",
                "loss": float(trainer.callback_metrics["train_loss"]),
            }
        )
    )


if __name__ == "__main__":
    main()
