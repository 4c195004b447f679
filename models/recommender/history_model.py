"""What recommenders that learn from histories by gradients share: validation and optimizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from models.recommender.evaluation import RankingTask, evaluate


class HistoryModel(pl.LightningModule):
    """Ranks the validation task once an epoch, as the test does.

    Args:
        optimizer: called with parameter groups.
        scheduler: called with the optimizer and `total_steps`; None for a constant rate.
        weight_decay: applied to matrices; never to biases, norms and embeddings.
        evaluation_batch_size: histories ranked at once in validation.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None,
        weight_decay: float,
        evaluation_batch_size: int,
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.evaluation_batch_size = evaluation_batch_size
        self.validation_task: RankingTask | None = None

    @property
    def knows_users(self) -> bool:
        """Whether `score` also takes whose histories they are, [B] codes from 1."""
        return False

    @property
    @abstractmethod
    def history_length(self) -> int:
        """Items of a history that are read, the newest."""

    @abstractmethod
    def score(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → scores of all items [B, V + 1]."""

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if stage in ("fit", "validate") and data is not None:
            self.validation_task = data.validation_task

    def validation_step(self, *_: Any) -> None:
        """Rank the whole task; the loader gives one empty batch an epoch to trigger it.

        It happens here and not when the epoch ends, since weight averaging puts the averaged
        weights in place for the steps only.
        """
        assert self.validation_task is not None, "validation needs a data module with a task"
        metrics = evaluate(
            self.score,
            self.validation_task.to(self.device),
            max_length=self.history_length,
            batch_size=self.evaluation_batch_size,
            with_users=self.knows_users,
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

    def _parameter_groups(self) -> list[dict[str, Any]]:
        # Tables are looked up and not multiplied: weight decay would wear rare rows away.
        tables = {m.weight for m in self.modules() if isinstance(m, nn.Embedding)}
        decayed = [p for p in self.parameters() if p.ndim > 1 and p not in tables]
        plain = [p for p in self.parameters() if p.ndim <= 1 or p in tables]
        return [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
