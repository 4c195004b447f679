"""What a text classifier's training step adds up."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sentiment.classifier import TextClassifier, disagreement


class Bag(nn.Module):
    """Mean of token vectors, dropout, two logits."""

    def __init__(self, vocabulary: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 4)
        self.head = nn.Linear(4, classes)
        self.dropout = nn.Dropout(dropout)
        self.reads: list[int] = []

    def forward(self, ids: Tensor) -> Tensor:
        self.reads.append(len(ids))
        logits: Tensor = self.head(self.dropout(self.embedding(ids).mean(1)))
        return logits


def classifier(consistency: float, dropout: float) -> TextClassifier:
    torch.manual_seed(0)
    made = TextClassifier(
        net=partial(Bag, dropout=dropout),
        optimizer=torch.optim.AdamW,
        vocabulary=9,
        counts=[3, 3],
        consistency=consistency,
    )
    made.log = lambda *_, **__: None  # type: ignore[method-assign]  # no trainer here
    return made


IDS = torch.tensor([[1, 2], [3, 4], [5, 6]])
LABELS = torch.tensor([0, 1, 0])


def test_texts_are_read_once_unless_answers_must_agree() -> None:
    model = classifier(0.0, dropout=0.5)
    model.training_step((IDS, LABELS, None), 0)
    assert model.net.reads == [3]


def test_without_dropout_there_is_nothing_to_agree_on() -> None:
    model = classifier(5.0, dropout=0.0)
    loss = model.training_step((IDS, LABELS, None), 0)
    assert model.net.reads == [6]  # each text twice, in one run
    assert loss.item() == pytest.approx(functional.cross_entropy(model(IDS), LABELS).item())


def test_two_answers_that_differ_cost_more_the_higher_the_weight() -> None:
    losses = []
    for weight in (1e-6, 1.0, 2.0):
        model = classifier(weight, dropout=0.5)
        torch.manual_seed(1)  # the same dropout masks
        losses.append(model.training_step((IDS, LABELS, None), 0).item())
    assert losses[0] < losses[1]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_disagreement_is_symmetric_and_zero_for_equal_answers() -> None:
    one, other = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 0.5]])
    assert disagreement(one, one).item() == pytest.approx(0.0, abs=1e-7)
    assert disagreement(one, other).item() == pytest.approx(disagreement(other, one).item())
    p, q = one.softmax(-1), other.softmax(-1)
    expected = ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2
    assert disagreement(one, other).item() == pytest.approx(expected.item(), rel=1e-5)
