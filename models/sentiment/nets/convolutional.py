"""Kim's network: filters of several widths, the strongest answer of each (EMNLP 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sentiment.nets.recurrent import WordDropout
from models.sentiment.tokenization import PAD_ID


class ConvolutionalNet(nn.Module):
    """Token ids [B, T], 0-padded → logits [B, C].

    Args:
        widths: of filters, in tokens.
        filters: of each width.
        static: also keep a second, frozen copy of the word vectors (Kim's multichannel).
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        dim: int = 100,
        widths: Sequence[int] = (3, 4, 5),
        filters: int = 100,
        dropout: float = 0.5,
        word_dropout: float = 0.0,
        static: bool = False,
    ) -> None:
        super().__init__()
        self.word_dropout = WordDropout(word_dropout)
        self.embedding = nn.Embedding(vocabulary, dim, padding_idx=PAD_ID)
        self.static = static
        if static:
            self.frozen = nn.Embedding(vocabulary, dim, padding_idx=PAD_ID)
            self.frozen.weight.requires_grad_(False)
        channels = 2 * dim if static else dim
        self.convolutions = nn.ModuleList(nn.Conv1d(channels, filters, w) for w in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters * len(widths), classes)

    def forward(self, ids: Tensor) -> Tensor:
        ids = self.word_dropout(ids)
        vectors = self.embedding(ids)
        if self.static:
            vectors = torch.cat([vectors, self.frozen(ids)], dim=-1)
        channels = self.dropout(vectors).transpose(1, 2)  # [B, D, T]
        strongest = []
        for convolution in self.convolutions:
            width = cast(nn.Conv1d, convolution).kernel_size[0]
            # Padding on both sides: a text of one word fills each of a filter's places once.
            padded = functional.pad(channels, (width - 1, width - 1))
            strongest.append(torch.relu(convolution(padded)).amax(-1))
        return cast(Tensor, self.head(self.dropout(torch.cat(strongest, dim=-1))))

    def depth(self, name: str) -> int:
        return 0 if name.startswith(("embedding", "frozen")) else 1
