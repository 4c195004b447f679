"""A validation where `max_steps` ends training within an epoch.

Lightning validates at the end of epochs. A stream's epoch may never end, and without a validation
there is no best checkpoint, and early stopping fails for want of its metric.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as lightning


class LastValidation(lightning.Callback):
    """Ask for a stop at the last step: Lightning validates before it stops."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
