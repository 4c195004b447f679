"""A denoising autoencoder of events."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.anomaly.event_model import Assessment, EventModel
from models.anomaly.preparation import Prepared


def layers(widths: list[int], activation: Callable[[], nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear layers with activations between them."""
    built: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        built += [nn.Linear(before, after), activation()]
    return nn.Sequential(*built[:-1])


class Autoencoder(EventModel):
    """Reconstruct events from a narrow code; the error, scaled for each field, is the score.

    Args:
        fields, context: columns of the input; see `models.anomaly.preparation.Prepared`.
        hidden: units of the layers on both sides of the code.
        code: width of the code, as a share of the fields.
        noise: standard deviation of the noise added to scaled values in training (Vincent et al.,
            ICML 2008).
    """

    error: Tensor

    def __init__(
        self,
        fields: int,
        context: int,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
        hidden: int = 128,
        code: float = 0.5,
        noise: float = 0.1,
    ) -> None:
        super().__init__(optimizer, scheduler)
        width = max(1, round(fields * code))
        self.encoder = layers([fields + context, hidden, hidden, width])
        self.decoder = layers([width + context, hidden, hidden, fields])
        self.noise = noise
        self.register_buffer("error", torch.ones(fields))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, F], [B, C] → [B, F]."""
        code = self.encoder(torch.cat([x, context], dim=1))
        reconstruction: Tensor = self.decoder(torch.cat([code, context], dim=1))
        return reconstruction

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        noisy = x + self.noise * torch.randn_like(x)
        return torch.square(self(noisy, context) - x).mean()

    def settle(self, prepared: Prepared) -> None:
        error = torch.square(self(prepared.x, prepared.context) - prepared.x)
        self.error = error.mean(0) + self.noise**2

    def assess(self, prepared: Prepared) -> Assessment:
        expected = self(prepared.x, prepared.context)
        parts = torch.square(expected - prepared.x) / self.error * prepared.present
        return Assessment(torch.sqrt(parts.mean(1)), parts, expected)
