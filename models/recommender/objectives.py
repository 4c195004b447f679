"""What a net is asked in training: the next item everywhere, or the items behind masks.

An objective turns a batch of runs into the questions of a net and the answers that a loss
compares: `objective(net, runs [B, T + 1] right-padded) -> Asked`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.recommender.net import MASK, HistoryNet


class Asked(NamedTuple):
    """P questions of a batch: what the net thinks, and what was right."""

    hidden: Tensor  # [P, D]
    targets: Tensor  # [P] graph ids
    run: Tensor  # [P] the run of each question


class Objective(Protocol):
    """Anything that asks a net about runs."""

    hides: bool  # whether it needs a net that reads masks

    def __call__(self, net: HistoryNet, runs: Tensor) -> Asked: ...


class NextItem:
    """Every item but the first is asked for, from those before it; for nets that look back only."""

    hides = False

    def __call__(self, net: HistoryNet, runs: Tensor) -> Asked:
        targets = runs[:, 1:]
        real = targets != 0
        # Padding is left out here, so that it costs no scoring.
        return Asked(net(runs[:, :-1])[real], targets[real], real.nonzero()[:, 0])


class Cloze:
    """Random items are hidden and asked for, from both sides (BERT4Rec, Sun et al., CIKM 2019).

    Every run is asked at least once: where chance hides nothing, its last item is hidden.

    Args:
        share: chance of an item to be hidden.
        last: chance of a run to have its last item hidden and no other, which is the question of
            serving time. The paper trains on such runs too.
    """

    hides = True

    def __init__(self, share: float, last: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {share}")
        if not 0 <= last <= 1:
            raise ValueError(f"last must lie in 0…1, not {last}")
        self.share = share
        self.last = last

    def __call__(self, net: HistoryNet, runs: Tensor) -> Asked:
        hidden = self.hide(runs)
        states = net(runs.masked_fill(hidden, MASK))[hidden]
        return Asked(states, runs[hidden], hidden.nonzero()[:, 0])

    def hide(self, runs: Tensor) -> Tensor:
        """Which items of runs [B, T + 1] are hidden: bool, never padding, one a run or more."""
        real = runs != 0
        chance = torch.rand(runs.shape, device=runs.device)
        hidden = (chance < self.share) & real
        only_last = torch.rand(len(runs), device=runs.device) < self.last
        only_last |= ~hidden.any(1)
        steps = torch.arange(runs.shape[1], device=runs.device)
        final = steps == real.sum(1, keepdim=True) - 1  # [B, T + 1]
        return torch.where(only_last[:, None], final, hidden)
