"""The HSTU block: pointwise attention without a softmax (Zhai et al., ICML 2024, arXiv 2402.17152).

Limits: the relative bias knows positions only. The paper's second bias, of the time between two
interactions, is left out: the served graph gets items without their timestamps. Attention weights
are [B, H, T, T] in memory; there is no fused kernel for them in PyTorch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HSTUBlock(nn.Module):
    """Queries, keys, values and gates from one SiLU projection; the gate replaces a feed-forward.

    A key's weight is SiLU(q·k + bias) / T, not a share of a softmax: it may be negative, and how
    much is alike in a history, not only what is most alike, comes through. T is always
    `max_length`, so that padding does not change an answer.

    Args:
        max_length: of a history; a bidirectional net's mask comes on top of it.
        init_std: of the relative bias.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float, max_length: int, init_std: float = 0.02
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.max_length = max_length
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.query_gate = nn.Linear(dim, 2 * dim)
        self.offsets = nn.Embedding(2 * max_length + 1, heads)  # −max_length … max_length
        self.mixed_norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.offsets.weight, std=init_std)

    def forward(self, x: Tensor, mask: Tensor | None, last: bool = False) -> Tensor:
        """[B, T, D] → [B, Q, D]; `mask` [B, 1, Q, T] is true where a query may look.

        None means plain causal order.
        """
        normed = self.norm(x)
        key, value = F.silu(self.key_value(normed)).chunk(2, dim=-1)
        if last:
            normed, x = normed[:, -1:], x[:, -1:]
        query, gate = F.silu(self.query_gate(normed)).chunk(2, dim=-1)
        steps = torch.arange(key.shape[1], device=key.device)
        offset = (steps[-1:] if last else steps)[:, None] - steps  # [Q, T]: how far back
        visible = offset >= 0 if mask is None else mask
        bias = self.offsets(offset.clamp(-self.max_length, self.max_length) + self.max_length)
        weight = self._split(query) @ self._split(key).transpose(-1, -2)  # [B, H, Q, T]
        weight = F.silu(weight + bias.permute(2, 0, 1)) / self.max_length
        mixed = weight.masked_fill(~visible, 0.0) @ self._split(value)  # [B, H, Q, D/H]
        mixed = self.mixed_norm(mixed.transpose(1, 2).flatten(2))
        return cast(Tensor, x + self.out(self.dropout(mixed * gate)))

    def _split(self, x: Tensor) -> Tensor:
        batch, steps, dim = x.shape
        return x.view(batch, steps, self.heads, dim // self.heads).transpose(1, 2)
