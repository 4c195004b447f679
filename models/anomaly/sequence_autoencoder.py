"""An autoencoder of the newest event in its window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.anomaly.autoencoder import layers
from models.anomaly.event_model import Assessment, EventModel
from models.anomaly.preparation import Prepared

_USUAL = 0.99


class SequenceAutoencoder(EventModel):
    """Window → narrow code → the newest event; the error, scaled for each field, is the score.

    The events before it help to say what the newest should have been; only its own error counts,
    so that contributions and what is expected are those of one event. In training, fields of the
    newest event are hidden at random and noise is added (Vincent et al., ICML 2008): what cannot be
    copied must be learnt from the other fields and from the past.

    Args:
        fields, context: columns of the input; see `models.anomaly.preparation.Prepared`. `x` and
            `present` have the window as a middle axis here, and `x` is NaN where none is present.
        encoder: makes one of `models.anomaly.sequence_encoders`, given inputs and width.
        width: of the encoder's answer.
        hidden: units of the decoder's layer.
        code: width of the code, as a share of the fields.
        noise: standard deviation of the noise on scaled values.
        reach: scaled values are bounded by this in what the encoder reads and training asks for:
            an extreme one is seen, but never copied.
        hide: share of the newest event's fields that training hides.
    """

    error: Tensor

    def __init__(
        self,
        fields: int,
        context: int,
        optimizer: Callable[..., torch.optim.Optimizer],
        encoder: Callable[..., nn.Module],
        scheduler: Callable[..., Any] | None = None,
        width: int = 64,
        hidden: int = 64,
        code: float = 0.5,
        noise: float = 0.1,
        reach: float = 4.0,
        hide: float = 0.2,
    ) -> None:
        super().__init__(optimizer, scheduler)
        # A value and whether it is there, for each field: a missing one is not a usual one.
        self.encoder = encoder(inputs=2 * fields, width=width)
        narrow = max(1, round(fields * code))
        self.narrow = nn.Linear(width, narrow)
        self.decoder = layers([narrow + context, hidden, fields])
        self.noise = noise
        self.reach = reach
        self.hide = hide
        self.register_buffer("error", torch.ones(fields))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, T, F] (NaN: missing), [B, C] → [B, F]."""
        missing = torch.isnan(x)
        filled = torch.where(missing, torch.zeros_like(x), x).clamp(-self.reach, self.reach)
        present = 1.0 - missing.to(x.dtype)
        state = self.encoder(torch.cat([filled, present], dim=2), _valid(present))
        reconstruction: Tensor = self.decoder(torch.cat([self.narrow(state), context], dim=1))
        return reconstruction

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        noisy = x + self.noise * torch.randn_like(x)
        hidden = torch.rand_like(x[:, -1]) < self.hide
        noisy[:, -1] = torch.where(hidden, torch.full_like(x[:, -1], torch.nan), noisy[:, -1])
        newest = x[:, -1].clamp(-self.reach, self.reach)
        known = ~torch.isnan(newest)
        # Huber's loss and the bound: incidents in the training data must not be worth learning.
        error = functional.huber_loss(
            self(noisy, context), torch.where(known, newest, 0.0), reduction="none"
        )
        return (error * known).sum() / known.sum().clamp(min=1)

    def settle(self, prepared: Prepared) -> None:
        """Learn each field's usual error: the mean square of all but the largest 1 %."""
        parts = [
            self._squares(prepared, slice(first, first + 4096))[0]
            for first in range(0, len(prepared.x), 4096)
        ]
        squares = torch.cat(parts)
        squares[prepared.present[:, -1] == 0] = torch.nan
        usual = squares <= torch.nanquantile(squares, _USUAL, dim=0)
        self.error = torch.where(usual, squares, 0.0).sum(0) / usual.sum(0) + self.noise**2

    def assess(self, prepared: Prepared) -> Assessment:
        squares, expected = self._squares(prepared, slice(None))
        parts = squares / self.error
        return Assessment(torch.sqrt(parts.mean(1)), parts, expected)

    def _squares(self, prepared: Prepared, rows: slice) -> tuple[Tensor, Tensor]:
        """Errors [B, F], 0 where a value is missing, and what is expected [B, F]."""
        x, present = prepared.x[rows], prepared.present[rows, -1]
        expected = self(x, prepared.context[rows])
        newest = torch.where(present > 0, x[:, -1], expected)
        return torch.square(newest - expected), expected


def _valid(present: Tensor) -> Tensor:
    """[B, T, F] → [B, T]: from a source's first event on; the newest always counts."""
    first = present.sum(2).cumsum(1) > 0
    newest = torch.ones_like(first[:, -1:])
    return torch.cat([first[:, :-1], newest], dim=1)
