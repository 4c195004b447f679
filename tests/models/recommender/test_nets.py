"""Every net: two ways through it agree, none looks ahead that must not, all export."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.export import export_onnx, ranking_parity
from models.recommender.bidirectional import BidirectionalTransformer
from models.recommender.export import TopK
from models.recommender.gru import GatedRecurrentNet
from models.recommender.hstu import HSTUBlock
from models.recommender.net import MASK, HistoryNet
from models.recommender.transformer import CausalTransformer, GatedBlock, SASRecBlock

BLOCKS = {
    "sasrec": partial(SASRecBlock, dim=16, heads=2, dropout=0.1),
    "gated": partial(GatedBlock, dim=16, heads=2, dropout=0.1),
    "hstu": partial(HSTUBlock, dim=16, heads=2, dropout=0.1, max_length=12),
}
transformer = partial(CausalTransformer, 50, dim=16, max_length=12, n_blocks=2, dropout=0.1)
both_ways = partial(BidirectionalTransformer, 50, dim=16, max_length=12, n_blocks=2, dropout=0.1)
gru = partial(GatedRecurrentNet, 50, dim=16, max_length=12, hidden=24, dropout=0.1)
CAUSAL: dict[str, Callable[[], HistoryNet]] = {
    **{name: partial(transformer, block=block) for name, block in BLOCKS.items()},
    "gru": partial(gru, layers=1),
    "gru without skip": partial(gru, layers=2, skip=False),
}
NETS = CAUSAL | {
    f"{name} both ways": partial(both_ways, block=block) for name, block in BLOCKS.items()
}


def make(name: str) -> HistoryNet:
    """Evaluation mode; weights larger than at the start of training, so that all of it matters."""
    torch.manual_seed(0)
    net = NETS[name]()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        net.items.weight[0].zero_()
    return net.eval()


@pytest.fixture(params=CAUSAL)
def causal(request: pytest.FixtureRequest) -> HistoryNet:
    return make(request.param)


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> HistoryNet:
    return make(request.param)


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.long)


def test_left_padded_last_state_equals_right_padded_training_state(causal: HistoryNet) -> None:
    items = torch.randint(1, 51, (7,))
    hidden = causal(torch.cat([items, zeros(5)])[None])
    last = causal.last(torch.cat([zeros(5), items])[None])
    torch.testing.assert_close(last, hidden[:, 6], atol=1e-5, rtol=1e-5)


def test_future_items_do_not_change_the_past(causal: HistoryNet) -> None:
    history = torch.randint(1, 51, (1, 12))
    changed = history.clone()
    changed[0, 8:] = history[0, 8:] % 50 + 1
    torch.testing.assert_close(causal(history)[:, :8], causal(changed)[:, :8])
    assert not torch.allclose(causal(history)[:, 8:], causal(changed)[:, 8:])


def test_early_items_change_the_end(net: HistoryNet) -> None:
    history = torch.randint(1, 51, (1, 12))
    changed = history.clone()
    changed[0, 0] = history[0, 0] % 50 + 1
    assert not torch.allclose(net.last(history), net.last(changed), atol=1e-4)


def test_the_order_of_items_matters(net: HistoryNet) -> None:
    history = torch.tensor([[3, 4, 5, 6]])
    assert not torch.allclose(net.last(history), net.last(history[:, [1, 2, 0, 3]]), atol=1e-4)


def test_amount_of_padding_does_not_matter(net: HistoryNet) -> None:
    history = torch.tensor([[3, 4, 5]])
    padded = torch.cat([zeros(6)[None], history], dim=1)
    torch.testing.assert_close(net.last(history), net.last(padded), atol=1e-5, rtol=1e-5)
    right = torch.cat([history, zeros(6)[None]], dim=1)
    torch.testing.assert_close(net(history), net(right)[:, :3], atol=1e-5, rtol=1e-5)


def test_all_padding_gives_finite_states(net: HistoryNet) -> None:
    assert torch.isfinite(net.last(torch.zeros(2, 4, dtype=torch.long))).all()


def test_the_whole_window_is_read(net: HistoryNet) -> None:
    assert net.last(torch.randint(1, 51, (2, net.max_length))).shape == (2, 16)


@pytest.mark.parametrize("block", BLOCKS)
def test_both_ways_asks_for_an_appended_mask(block: str) -> None:
    net = make(f"{block} both ways")
    items = torch.randint(1, 51, (7,))
    asked = torch.cat([items, torch.tensor([MASK]), zeros(4)])[None]
    last = net.last(torch.cat([zeros(5), items])[None])
    torch.testing.assert_close(last, net(asked)[:, 7], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_both_ways_sees_what_comes_later(block: str) -> None:
    net = make(f"{block} both ways")
    history = torch.tensor([[3, MASK, 5, 6]])
    changed = torch.tensor([[3, MASK, 5, 7]])
    assert not torch.allclose(net(history)[:, 1], net(changed)[:, 1], atol=1e-4)


class Scored(nn.Module):
    def __init__(self, net: HistoryNet) -> None:
        super().__init__()
        self.net = net

    def score(self, history: Tensor) -> Tensor:
        return self.net.last(history) @ self.net.items.weight.T


@pytest.mark.parametrize("name", ["hstu", "gru", "gated both ways"])  # an export takes seconds
def test_the_graph_answers_as_the_net(name: str, tmp_path: Path) -> None:
    graph = TopK(Scored(make(name)), 10).eval()
    example = {key: torch.tensor([[0, 1, 1], [1, 1, 1]]) for key in ("history", "seen")}
    dynamic = {"history": {0: "batch", 1: "time"}, "seen": {0: "batch", 1: "seen"}}
    file = tmp_path / "model.onnx"
    export_onnx(graph, example, dynamic, ["items", "scores"], file)
    batches = []
    for width, lengths in ((1, [1, 0]), (12, [12, 5, 1, 0]), (4, [2])):
        history = torch.randint(1, 51, (len(lengths), width))
        for row, length in enumerate(lengths):
            history[row, : width - length] = 0
        batches.append({"history": history, "seen": history})
    assert ranking_parity(file, graph, batches, 1e-4) < 1e-4


@pytest.mark.parametrize("block", [GatedBlock, partial(HSTUBlock, max_length=5)])
def test_heads_must_divide_the_width(block: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="dim 10 is not a multiple of heads 4"):
        block(dim=10, heads=4, dropout=0.0)


def test_padding_starts_at_the_origin(net: HistoryNet) -> None:
    assert not net.items.weight[0].any()
