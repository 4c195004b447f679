"""The sequential recommender: what comes next, given what a user touched so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.losses import NotNegative
from models.recommender.net import HistoryNet
from models.recommender.objectives import Objective


class SequentialRecommender(pl.LightningModule):
    """Train a net over item histories on what its objective asks.

    Args:
        net: called with `n_items`, makes the network (`_partial_: true` in the config).
        objective: what is asked of the net: the next item everywhere, or hidden items.
        loss: module over (hidden [P, D], items [V + 1, D], targets [P], spared items or None).
        optimizer: called with parameter groups.
        scheduler: called with the optimizer and `total_steps`; None for a constant rate.
        n_items: catalog size V, known once the data is read.
        weight_decay: applied to matrices; never to biases, norms and embeddings.
        evaluation_batch_size: histories ranked at once in validation.
        spare_touched: do not count items of a run as negatives within it; right where people do
            not come back to what they had.

    Raises:
        ValueError: the net does not suit the objective.
    """

    def __init__(
        self,
        net: Callable[..., HistoryNet],
        objective: Objective,
        loss: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        n_items: int,
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        weight_decay: float = 0.0,
        compile: bool = False,
        evaluation_batch_size: int = 512,
        spare_touched: bool = False,
    ) -> None:
        super().__init__()
        self.net = net(n_items=n_items)
        self.objective = objective
        if objective.hides != self.net.reads_masks:
            # One that sees both ways would read the next item off; one that looks back knows no
            # masks.
            raise ValueError(
                f"{type(objective).__name__} does not suit {type(self.net).__name__}: a net that "
                "sees both ways takes model/objective=cloze, any other model/objective=next_item"
            )
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.evaluation_batch_size = evaluation_batch_size
        self.compiled = compile
        self.spare_touched = spare_touched
        self.validation_task: RankingTask | None = None

    def setup(self, stage: str) -> None:
        if self.compiled and stage == "fit":
            self.net.compile(dynamic=True)
        data = getattr(self.trainer, "datamodule", None)
        if stage in ("fit", "validate") and data is not None:
            self.validation_task = data.validation_task

    def score(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → scores of all items [B, V + 1]."""
        return self.net.last(history) @ self.net.items.weight.T

    def training_step(self, run: Tensor, batch_index: int) -> Tensor:
        """One batch of right-padded runs [B, T + 1]."""
        asked = self.objective(self.net, run)
        items = self.net.items.weight
        spared = NotNegative.of(run, asked.run, len(items) - 1) if self.spare_touched else None
        loss = cast(Tensor, self.loss(asked.hidden, items, asked.targets, spared))
        self.log(
            "train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(run)
        )
        return loss

    def validation_step(self, *_: Any) -> None:
        """Rank the whole task; the loader gives one empty batch an epoch to trigger it.

        It happens here and not when the epoch ends, since weight averaging puts the averaged
        weights in place for the steps only.
        """
        assert self.validation_task is not None, "validation needs a data module with a task"
        metrics = evaluate(
            self.score,
            self.validation_task.to(self.device),
            max_length=self.net.max_length,
            batch_size=self.evaluation_batch_size,
        )
        shown = {"ndcg@10", "hit_rate@10"}
        for name, value in metrics.items():
            self.log(f"val_{name}", value, prog_bar=name in shown, batch_size=1, sync_dist=False)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self._parameter_groups())
        if self.make_scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _parameter_groups(self) -> Iterable[dict[str, Any]]:
        tables = self.net.tables()
        decayed = [p for p in self.net.parameters() if p.ndim > 1 and p not in tables]
        plain = [p for p in self.net.parameters() if p.ndim <= 1 or p in tables]
        return [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
