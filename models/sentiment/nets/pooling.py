"""From a vector for each token to one for the text."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class MeanMaxPooling(nn.Module):
    """[B, T, D] and mask [B, T] → [B, 2 D]: means beside maxima over real tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = 2 * width

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(-1)
        mean = (states * real).sum(1) / real.sum(1).clamp(min=1)
        most = states.masked_fill(~real, -1e4).amax(1)
        return torch.cat([mean, most], dim=-1)


class AttentionPooling(nn.Module):
    """A learnt weight for each token (Yang et al., 2016): [B, T, D], mask → [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = width
        self.hidden = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        logits = self.query(torch.tanh(self.hidden(states))).squeeze(-1)
        weights = logits.masked_fill(~mask, -1e4).softmax(-1)
        return cast(Tensor, (weights.unsqueeze(-1) * states).sum(1))


class LastPooling(nn.Module):
    """The last state forwards, and the first backwards where there are two directions."""

    def __init__(self, width: int, bidirectional: bool = True) -> None:
        super().__init__()
        self.out = width
        self.bidirectional = bidirectional

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        last = (mask.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[-1])
        forwards = states.gather(1, last).squeeze(1)
        if not self.bidirectional:
            return forwards
        half = states.shape[-1] // 2
        return torch.cat([forwards[:, :half], states[:, 0, half:]], dim=-1)
