"""What all recommenders that learn from histories share."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from models.recommender.history_model import HistoryModel


class Small(HistoryModel):
    def __init__(self) -> None:
        super().__init__(partial(torch.optim.SGD, lr=0.1), None, 0.5, 8)
        self.items = nn.Embedding(4, 2)
        self.linear = nn.Linear(2, 2)

    @property
    def history_length(self) -> int:
        return 3

    def score(self, history: Tensor) -> Tensor:
        return torch.zeros(len(history), 4)


def test_weight_decay_wears_neither_rare_rows_nor_biases_away() -> None:
    model = Small()
    decayed, plain = model.configure_optimizers().param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert [p is model.linear.weight for p in decayed["params"]] == [True]
    assert {id(p) for p in plain["params"]} == {id(model.items.weight), id(model.linear.bias)}
