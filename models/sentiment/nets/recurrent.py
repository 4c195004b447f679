"""LSTM or GRU over word vectors, one or two directions, pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from models.recurrent import Recurrent
from models.sentiment.tokenization import PAD_ID


class WordDropout(nn.Module):
    """Replaces some words by the unknown one in training (Iyyer et al., 2015)."""

    def __init__(self, rate: float, unknown: int = 1) -> None:
        super().__init__()
        self.rate = rate
        self.unknown = unknown

    def forward(self, ids: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return ids
        hit = torch.rand(ids.shape, device=ids.device) < self.rate
        return torch.where(hit & (ids != PAD_ID), self.unknown, ids)


class RecurrentNet(nn.Module):
    """Token ids [B, T], 0-padded → logits [B, C].

    Args:
        cell, hidden, layers, bidirectional: see `models.recurrent.Recurrent`.
        pooling: called with the width of a state.
        dropout: on word vectors, between layers and before the last one.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        pooling: Callable[..., nn.Module],
        dim: int = 100,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.5,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.word_dropout = WordDropout(word_dropout)
        self.embedding = nn.Embedding(vocabulary, dim, padding_idx=PAD_ID)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = Recurrent(cell, dim, hidden, layers, bidirectional, dropout)
        self.pooling = pooling(self.recurrent.width)
        self.head = nn.Linear(cast(int, self.pooling.out), classes)

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != PAD_ID
        vectors = self.dropout(self.embedding(self.word_dropout(ids)))
        states = self.recurrent(vectors, mask.sum(1).clamp(min=1))
        return cast(Tensor, self.head(self.dropout(self.pooling(states, mask))))

    def depth(self, name: str) -> int:
        """0 for what lies at the bottom, for layer-wise learning rates."""
        return 0 if name.startswith("embedding") else 1
