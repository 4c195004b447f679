"""How much noise would have to be added to a normal event to get this one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoiseLevel(nn.Module):
    """A regression of the noise's logarithm, trained on normal events made noisy at all scales.

    Diffusion time estimation (Livernoche et al., ICLR 2024) without the diffusion: how far an event
    is from the data's manifold, in one pass and without stored events.

    Args:
        width: columns of the input, context included.
        hidden: units of each layer.
        least, most: standard deviations of the noise in scaled units; their logarithm is uniform.
    """

    def __init__(
        self, width: int, hidden: int = 128, least: float = 0.03, most: float = 4.5
    ) -> None:
        super().__init__()
        self.low, self.high = (float(torch.tensor(v).log()) for v in (least, most))
        self.network = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, F], [B, C] → the standard deviation, [B]."""
        return torch.exp(torch.clamp(self._logarithm(x, context), -20.0, 20.0))

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        span = torch.rand(len(x), device=x.device) * (self.high - self.low)
        logarithm = self.low + span
        noisy = x + logarithm.exp()[:, None] * torch.randn_like(x)
        return torch.square(self._logarithm(noisy, context) - logarithm).mean()

    def _logarithm(self, x: Tensor, context: Tensor) -> Tensor:
        logarithm: Tensor = self.network(torch.cat([x, context], dim=1))[:, 0]
        return logarithm
