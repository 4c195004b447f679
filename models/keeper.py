"""Keeps the best checkpoint and, after every validation, the last.

Lightning's own `save_last` renews the last checkpoint only together with a better one, so that a
run that was killed would go on from its best epoch and repeat all since.
"""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class Keeper(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, whose `save_last=true` means after every validation."""

    @property
    def state_key(self) -> str:
        """Lightning's own: checkpoints from before this class know their best one by it."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: pl.Trainer) -> None:
        # Nothing is to be saved, or was, with a better one, at this very step.
        if self.save_last and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
