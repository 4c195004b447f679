"""The sequential recommender: what comes next, given what a user touched so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from models.recommender.history_model import HistoryModel
from models.recommender.losses import NotNegative
from models.recommender.net import HistoryNet
from models.recommender.objectives import Objective


class SequentialRecommender(HistoryModel):
    """Train a net over item histories on what its objective asks.

    Args:
        net: called with `n_items`, makes the network (`_partial_: true` in the config).
        objective: what is asked of the net: the next item everywhere, or hidden items.
        loss: module over (hidden [P, D], items [V + 1, D], targets [P], spared items or None).
        n_items: catalog size V, known once the data is read.
        optimizer, scheduler, weight_decay, evaluation_batch_size: see `HistoryModel`.
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
        super().__init__(optimizer, scheduler, weight_decay, evaluation_batch_size)
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
        self.compiled = compile
        self.spare_touched = spare_touched

    @property
    def history_length(self) -> int:
        return self.net.max_length

    def setup(self, stage: str) -> None:
        if self.compiled and stage == "fit":
            self.net.compile(dynamic=True)
        super().setup(stage)

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
