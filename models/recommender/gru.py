"""GRU4Rec's network: a gated recurrent unit over the history (Hidasi et al., ICLR 2016).

Limits: one step after another, so a long history costs what it is long; nothing of it is lost to
a window of positions, though `max_length` still bounds what is read.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.recommender.net import HistoryNet
from models.recurrent import Recurrent


class GatedRecurrentNet(HistoryNet):
    """Item vectors → GRU → the item vectors' width.

    Args:
        hidden: width of the GRU's state.
        layers: GRUs on top of one another.
        output_dropout: on what the GRU says, before it is added.
        skip: add the item's own vector to what the GRU says of it. Without it the net must first
            learn to pass items through before it can say that like follows like; with short
            histories there is little to learn that from. The paper's net has none.
        init_std: of item vectors and the output matrix; the GRU keeps PyTorch's start.
    """

    def __init__(
        self,
        n_items: int,
        dim: int,
        max_length: int,
        hidden: int,
        layers: int,
        dropout: float,
        output_dropout: float = 0.0,
        skip: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(n_items, dim, max_length, dropout)
        self.recurrent = Recurrent("gru", dim, hidden, layers, dropout=dropout)
        self.out = nn.Linear(hidden, dim)
        self.output_dropout = nn.Dropout(output_dropout)
        self.skip = skip
        self.initialise(init_std)

    def forward(self, history: Tensor) -> Tensor:
        """Right-padded history [B, T] → hidden states [B, T, D]; padding's are of no meaning."""
        x = self.dropout(self.vectors(history))
        said = self.output_dropout(self.out(self.recurrent(x, _lengths(history))))
        return cast(Tensor, self.norm(x + said if self.skip else said))

    def last(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → the state after the last item [B, D]."""
        steps = torch.arange(history.shape[1], device=history.device)
        lengths = _lengths(history)
        # A GRU reads from the left: padding goes behind the items, and the last item's state is
        # where the history ends.
        width = history.shape[1]
        turned = history.gather(1, (steps + width - lengths[:, None]).clamp(max=width - 1))
        turned = turned * (steps < lengths[:, None])
        states = self(turned)
        end = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        return cast(Tensor, states.gather(1, end)[:, 0])


def _lengths(history: Tensor) -> Tensor:
    """Real items of each row [B]; one where there is none, since a GRU reads at least that."""
    return (history != 0).sum(1).clamp(min=1)
