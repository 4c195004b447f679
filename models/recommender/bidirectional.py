"""BERT4Rec's network: every position sees the whole history (Sun et al., CIKM 2019).

Trained by `models.recommender.objectives.Cloze`; a hidden item is `MASK` in the history. To
recommend, a mask is appended and its state read, which is why positions run to `max_length` + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from models.recommender.net import MASK
from models.recommender.transformer import Transformer


class BidirectionalTransformer(Transformer):
    """A transformer that looks both ways, and guesses what a mask hides.

    The blocks are those of the causal transformer: they are handed a mask of padding instead.
    """

    reads_masks = True

    def __init__(
        self,
        n_items: int,
        dim: int,
        max_length: int,
        n_blocks: int,
        dropout: float,
        block: Callable[[], nn.Module],
        init_std: float = 0.02,
    ) -> None:
        super().__init__(
            n_items, dim, max_length, n_blocks, dropout, block, init_std, window=max_length + 1
        )
        self.mask = nn.Parameter(torch.zeros(dim).normal_(std=init_std))

    def vectors(self, history: Tensor) -> Tensor:
        """Item vectors, and the learned one of the mask."""
        hidden = (history == MASK).unsqueeze(-1)
        vectors = torch.where(hidden, self.mask, self.items(history.clamp(min=0)))
        return vectors * self.scale

    def forward(self, history: Tensor) -> Tensor:
        """Right-padded history [B, T ≤ max_length + 1] with masks → hidden states [B, T, D]."""
        steps = torch.arange(history.shape[1], device=history.device)
        seen = (history != 0)[:, None, None, :]  # [B, 1, 1, T]
        x = self.embed(history, steps[None])
        for block in self.blocks:
            x = block(x, seen)
        return cast(Tensor, self.norm(x))

    def last(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T ≤ max_length] → the state of a mask appended to it [B, D]."""
        asked = torch.cat([history, torch.full_like(history[:, :1], MASK)], dim=1)
        return self.last_state(asked, torch.ones((), dtype=torch.bool, device=history.device))
