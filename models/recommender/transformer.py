"""Transformers over item histories: the classic SASRec block and a modern, gated one.

Limits: learned absolute positions, counted from the start of the window, so a model reads at most
`max_length` items; attention is O(T²).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recommender.net import HistoryNet


class Attention(nn.Module):
    """Multi-head scaled dot-product attention, [B, T, D] → [B, Q, D]."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` [B, 1, Q, T] is true where a query may look; None means plain causal order."""
        q = self._split(self.query(query))  # [B, H, Q, D/H]
        k, v = self.key_value(context).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(
            q,
            self._split(k),
            self._split(v),
            attn_mask=mask,
            is_causal=mask is None,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        batch, steps, dim = x.shape
        return x.view(batch, steps, self.heads, dim // self.heads).transpose(1, 2)


class SASRecBlock(nn.Module):
    """The block of SASRec (Kang & McAuley, ICDM 2018): normalised queries over raw keys.

    The residual runs from the normalised query, and the feed-forward keeps the width, as in the
    paper's reference code.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=1e-8)
        self.attention = Attention(dim, heads, dropout)
        self.forward_norm = nn.LayerNorm(dim, eps=1e-8)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, dim), nn.Dropout(dropout), nn.ReLU(), nn.Linear(dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, last: bool = False) -> Tensor:
        query = self.attention_norm(x[:, -1:] if last else x)
        x = self.forward_norm(query + self.attention(query, x, mask))
        return cast(Tensor, x + self.dropout(self.feed_forward(x)))


class GatedBlock(nn.Module):
    """Pre-norm attention and SwiGLU, each added through a learned sigmoid gate.

    The gated residual is that of LiGR (Borisyuk et al., 2025), which eSASRec (Tikhonovich et al.,
    RecSys 2025) found best among transformer blocks for next-item recommendation; the feed-forward
    is SwiGLU (Shazeer, 2020) with `expansion` times the width.
    """

    def __init__(self, dim: int, heads: int, dropout: float, expansion: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.attention_gate = nn.Linear(dim, dim)
        self.forward_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * hidden)
        self.down = nn.Linear(hidden, dim)
        self.forward_gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, last: bool = False) -> Tensor:
        normed = self.attention_norm(x)
        query = normed[:, -1:] if last else normed
        x = x[:, -1:] if last else x
        change = self.attention(query, normed, mask)
        x = x + torch.sigmoid(self.attention_gate(x)) * self.dropout(change)
        gate, value = self.up(self.forward_norm(x)).chunk(2, dim=-1)
        change = self.down(self.dropout(F.silu(gate) * value))
        return cast(Tensor, x + torch.sigmoid(self.forward_gate(x)) * self.dropout(change))


class Transformer(HistoryNet):
    """Item and position vectors, and a stack of blocks; in which direction they look is open.

    Args:
        block: called with no arguments, makes one block (`_partial_: true` in the config).
        init_std: of all matrices at the start; see `HistoryNet.initialise`.
        window: positions that it tells apart; `max_length` if not given.
    """

    def __init__(
        self,
        n_items: int,
        dim: int,
        max_length: int,
        n_blocks: int,
        dropout: float,
        block: Callable[[], nn.Module],
        init_std: float = 0.02,
        window: int | None = None,
    ) -> None:
        super().__init__(n_items, dim, max_length, dropout)
        self.positions = nn.Embedding(window or max_length, dim)
        self.blocks = nn.ModuleList(block() for _ in range(n_blocks))
        self.initialise(init_std)

    def embed(self, history: Tensor, positions: Tensor) -> Tensor:
        """Item plus position vectors [B, T, D]; zeros where there is padding."""
        x = self.dropout(self.vectors(history) + self.positions(positions))
        return cast(Tensor, x * (history != 0).unsqueeze(-1))

    def last_state(self, history: Tensor, seen: Tensor) -> Tensor:
        """Left-padded history [B, T] → the last position's state [B, D].

        The last block computes one query only. Positions count real items, as in training.

        Args:
            seen: [B, T, T], or what broadcasts to it: whom a position (the first T) may look at.
        """
        valid = history != 0  # [B, T]
        positions = (valid.long().cumsum(1) - 1).clamp(min=0)
        x = self.embed(history, positions)
        # A padded query may look at itself: a row with nothing to look at would give NaN.
        diagonal = torch.eye(history.shape[1], dtype=torch.bool, device=history.device)
        mask = (seen & valid[:, None, :]) | diagonal  # [B, T, T]
        for i, block in enumerate(self.blocks):
            final = i == len(self.blocks) - 1
            x = block(x, mask[:, None, -1:] if final else mask[:, None], last=final)
        return cast(Tensor, self.norm(x)[:, -1])


class CausalTransformer(Transformer):
    """SASRec's way: every position sees itself and what came before it."""

    def forward(self, history: Tensor) -> Tensor:
        """Right-padded history [B, T] → hidden states [B, T, D].

        Padding stands after every real item, so the causal order alone hides it and attention
        needs no mask, which lets the fastest kernels run.
        """
        steps = torch.arange(history.shape[1], device=history.device)
        x = self.embed(history, steps[None])
        for block in self.blocks:
            x = block(x, None)
        return cast(Tensor, self.norm(x))

    def last(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → the state after the last item [B, D]."""
        steps = torch.arange(history.shape[1], device=history.device)
        return self.last_state(history, steps[None, :] <= steps[:, None])
