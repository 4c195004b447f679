"""What is asked: every transition once, or what masks hide."""

import pytest
import torch
from torch import Tensor

from models.recommender.net import MASK, HistoryNet
from models.recommender.objectives import Cloze, NextItem

RUNS = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0], [3, 2, 1, 0]])


class Echo(HistoryNet):
    """Its hidden state is the number it was shown, so that a test sees what a net sees."""

    def __init__(self) -> None:
        super().__init__(n_items=9, dim=1, max_length=3, dropout=0.0)

    def forward(self, history: Tensor) -> Tensor:
        return history.float()[..., None]

    def last(self, history: Tensor) -> Tensor:
        raise NotImplementedError


def test_next_items_are_asked_of_the_items_before_them() -> None:
    asked = NextItem()(Echo(), RUNS)
    assert asked.hidden.flatten().tolist() == [5, 6, 7, 9, 3, 2]
    assert asked.targets.tolist() == [6, 7, 8, 4, 2, 1]
    assert asked.run.tolist() == [0, 0, 0, 1, 2, 2]


def test_a_cloze_hides_what_it_asks_for_and_nothing_else() -> None:
    torch.manual_seed(0)
    shown = []

    class Spy(Echo):
        def forward(self, history: Tensor) -> Tensor:
            shown.append(history)
            return super().forward(history)

    for _ in range(50):
        asked = Cloze(share=0.4, last=0.2)(Spy(), RUNS)
        hidden = shown[-1] == MASK
        assert (asked.hidden == MASK).all(), "the answer must not be in the question"
        assert asked.targets.tolist() == RUNS[hidden].tolist()
        assert asked.run.tolist() == hidden.nonzero()[:, 0].tolist()
        assert torch.equal(shown[-1][~hidden], RUNS[~hidden])


def test_a_cloze_asks_every_run_and_never_for_padding() -> None:
    torch.manual_seed(0)
    hidden = torch.stack([Cloze(share=0.1, last=0.0).hide(RUNS) for _ in range(300)])
    assert hidden.any(2).all()
    assert not (hidden & (RUNS == 0)).any()


def test_a_cloze_asks_as_when_serving() -> None:
    hidden = Cloze(share=0.5, last=1.0).hide(RUNS)
    assert RUNS[hidden].tolist() == [8, 4, 1]


def test_the_share_is_kept() -> None:
    torch.manual_seed(0)
    runs = torch.ones(400, 50, dtype=torch.long)
    assert Cloze(share=0.3, last=0.0).hide(runs).float().mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("share", "last", "message"), [(0.0, 0.5, "share"), (1.0, 0.5, "share"), (0.2, 1.1, "last")]
)
def test_settings_that_ask_nothing_are_refused(share: float, last: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cloze(share, last)
