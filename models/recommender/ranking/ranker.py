"""The ranker: how likely a user answers an item positively, learned from rows with labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recommender.ranking.examples import Batch, Examples
from models.recommender.ranking.metrics import measured
from models.recommender.ranking.nets.net import RankingNet
from models.recommender.ranking.shape import Shape


class Ranker(pl.LightningModule):
    """Train a network on binary cross-entropy, and validate by AUC and log-loss.

    Args:
        net: called with `shape`, makes the network (`_partial_: true` in the config).
        optimizer: called with parameter groups.
        scheduler: called with the optimizer and `total_steps`; None for a constant rate.
        weight_decay: of the perceptrons' matrices; never of biases.
        embedding_decay: of the embeddings, where `optimizer` has them.
        affinity_weight: of the affinity's auxiliary loss, where the network has one.
        affinity_lr: the affinity's learning rate; its tables start small and have no other decay.
            Under `trainer=sharded` the tables that are not copied have the fused optimizer's.
        compile: the dense part, for training.
        compile_mode: torch.compile's; "reduce-overhead" captures CUDA graphs.
    """

    def __init__(
        self,
        net: Callable[..., RankingNet],
        shape: Shape,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        weight_decay: float = 0.0,
        embedding_decay: float = 0.0,
        affinity_weight: float = 0.1,
        affinity_lr: float = 5e-3,
        compile: bool = False,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        self.make_net = partial(net, shape=shape)
        self.net: RankingNet = self.make_net()
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.embedding_decay = embedding_decay
        self.affinity_weight = affinity_weight
        self.affinity_lr = affinity_lr
        self.compiled = compile
        self.compile_mode = compile_mode
        self._seen: list[tuple[Tensor, Tensor]] = []

    def configure_model(self) -> None:
        """Under `trainer=sharded`, spread the tables over the processes."""
        shard = getattr(self.trainer.strategy, "shard", None)
        if shard is not None and isinstance(self.net, RankingNet):
            self.net = shard(self.net)

    def load_shards(self, path: Path) -> dict[str, Any]:
        """Take whole weights from a sharded checkpoint, for evaluation and export.

        Returns:
            What the checkpoint holds beside weights, such as its epoch.

        Raises:
            ShardsError: a file of the checkpoint is missing.
        """
        from models.recommender.ranking.sharding import read_whole

        self.net = self.make_net()
        return read_whole(path, self.net)

    def setup(self, stage: str) -> None:
        if self.compiled and stage == "fit":
            self.net.compile_head(self.compile_mode)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        logits = self.net(batch.dense, batch.bags)
        loss = F.binary_cross_entropy_with_logits(logits, batch.label)
        self.log(
            "train_loss", loss, prog_bar=True, on_step=True, on_epoch=True,
            batch_size=len(batch.label),
        )  # fmt: skip
        affinity = cast(RankingNet, getattr(self.net, "module", self.net)).affinity
        if affinity is None:
            return loss
        self.log("train_affinity_loss", affinity.loss, on_epoch=True, batch_size=len(batch.label))
        return loss + self.affinity_weight * affinity.loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        logits = self.net(batch.dense, batch.bags)
        self._seen.append((batch.label, logits.float()))

    def on_validation_epoch_end(self) -> None:
        label, logits = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        if self.trainer.world_size > 1:  # every rank has as many rows
            label, logits = (
                cast(Tensor, self.all_gather(part)).flatten() for part in (label, logits)
            )
        found = measured(label.cpu().numpy(), logits.sigmoid().cpu().numpy())
        for name, value in found.items():
            self.log(f"val_{name}", value, prog_bar=name == "auroc", rank_zero_only=False)

    @torch.no_grad()
    def probabilities(self, examples: Examples, batch_size: int = 8192) -> Tensor:
        """[N] answers, in order, on the model's device."""
        self.net.eval()
        device = next(self.net.parameters()).device
        rows = torch.arange(len(examples))
        parts = []
        for part in rows.split(batch_size):
            batch = examples.take(part)
            logits = self.net(batch.dense.to(device), batch.bags.to(device))
            parts.append(logits.float().sigmoid().cpu())
        return torch.cat(parts) if parts else torch.zeros(0)

    def configure_optimizers(self) -> Any:
        combined = getattr(self.trainer.strategy, "optimizer", None)
        if combined is None:
            optimizer = self.make_optimizer(self._groups(self.net))
        else:  # the strategy's own optimizer has the tables
            optimizer = combined(lambda rest: self.make_optimizer(self._dense(rest)))
        if self.make_scheduler is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        known = None if math.isinf(steps) or steps < 0 else int(steps)
        scheduler = self.make_scheduler(optimizer, total_steps=known)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _groups(self, net: RankingNet) -> list[dict[str, Any]]:
        embeddings = list(net.embeddings.parameters())
        own = {id(p) for p in embeddings}
        tables = {"params": embeddings, "weight_decay": self.embedding_decay}
        rest = {n: p for n, p in net.named_parameters() if id(p) not in own}
        return [tables, *self._dense(rest)]

    def _dense(self, named: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
        """Groups of all but the tables; the affinity learns at a rate of its own, undecayed."""
        fast = {n: p for n, p in named.items() if "affinity" in n.split(".")}
        groups = self._decayed(p for n, p in named.items() if n not in fast)
        if fast:
            own = {"params": list(fast.values()), "weight_decay": 0.0, "lr": self.affinity_lr}
            groups.append(own)
        return groups

    def _decayed(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        every = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [g for g in groups if g["params"]]
