"""What every model of single events is: trained by Lightning, then asked how odd an event is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import IterableDataset

from models.anomaly.preparation import Prepared

Batch = tuple[Tensor, Tensor, Tensor]  # x [B, F], context [B, C], label [B]


class Assessment(NamedTuple):
    """Of B events, in the model's scaled units."""

    raw: Tensor  # [B] high = anomalous
    parts: Tensor  # [B, F] each field's share of it; not negative, of any sum
    expected: Tensor  # [B, F]


class Assessor(Protocol):
    """A module that can say how odd events are."""

    def assess(self, prepared: Prepared) -> Assessment: ...


class EventModel(pl.LightningModule):
    """A network over prepared events.

    Args:
        optimizer: takes the parameters.
        scheduler: takes the optimizer and `total_steps`, steps after each batch; None: constant.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self._optimizer = optimizer
        self._scheduler = scheduler

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        """One batch's loss; `label` as in `models.anomaly.telemetry`."""
        raise NotImplementedError

    def settle(self, prepared: Prepared) -> None:
        """Learn what is no gradient descent, from normal events, once the network is trained."""

    def balance(self, unseen: Prepared) -> None:
        """Put the parts of the score on one scale, from normal events that it did not learn."""

    def assess(self, prepared: Prepared) -> Assessment:
        raise NotImplementedError

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(*batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        self.log("val_loss", self.loss(*batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer(self.parameters())
        if self._scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self._scheduler(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class RandomBatches(IterableDataset[Batch]):
    """An epoch of `steps` batches, rows drawn with replacement; every epoch draws anew.

    So small data trains as many steps as large data does.
    """

    def __init__(
        self, batch: Batch, size: int, steps: int, seed: int, weights: Tensor | None = None
    ) -> None:
        self.batch = batch
        self.size = min(size, len(batch[0]))
        self.steps = steps
        self.weights = weights
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            rows = self._draw()
            x, context, label = (part[rows] for part in self.batch)
            yield x, context, label

    def _draw(self) -> Tensor:
        if self.weights is None:
            return torch.randint(len(self.batch[0]), (self.size,), generator=self._generator)
        return torch.multinomial(self.weights, self.size, True, generator=self._generator)
