"""What every network over item histories offers: one trainer, evaluator and export suit them all.

A net turns a history into hidden states as wide as its item vectors; items are scored by dot
product with them. Recurrent, causal and bidirectional nets differ only in how they mix a history.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

MASK = -1  # stands in a history for an item that is hidden: no item, and no padding


class HistoryNet(nn.Module, ABC):
    """The contract, and the item table that all share.

    Args:
        n_items: vocabulary size V; row 0 of the embedding is padding.
        dim: width D of item vectors and hidden states.
        max_length: most recent items that the net reads, T.
        dropout: on the input vectors.
    """

    reads_masks = False  # true where it sees both ways and guesses what a mask hides

    def __init__(self, n_items: int, dim: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.max_length = max_length
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        self.scale: float = dim**0.5

    @abstractmethod
    def forward(self, history: Tensor) -> Tensor:
        """Training: right-padded history [B, T] → hidden states [B, T, D]."""

    @abstractmethod
    def last(self, history: Tensor) -> Tensor:
        """Serving: left-padded history [B, T] → the state that predicts what comes next [B, D]."""

    def initialise(self, std: float) -> None:
        """Small random matrices and item vectors, biases 0; padding stays at the origin.

        Small ones matter: with tied item vectors the first logits are then near 0, and rare items
        stay near the origin until the data says otherwise. Figures in benchmarks/RESULTS.md.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.items.weight[0].zero_()

    def vectors(self, history: Tensor) -> Tensor:
        """Item vectors [B, T, D] of a history, scaled to the width."""
        return cast(Tensor, self.items(history) * self.scale)
