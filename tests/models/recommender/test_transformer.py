"""The two ways through the network agree, and neither looks ahead."""

from functools import partial

import pytest
import torch
from torch import nn

from models.recommender.transformer import CausalTransformer, GatedBlock, SASRecBlock

BLOCKS = {
    "sasrec": partial(SASRecBlock, dim=16, heads=2, dropout=0.1),
    "gated": partial(GatedBlock, dim=16, heads=2, dropout=0.1),
}


@pytest.fixture(params=BLOCKS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    block = BLOCKS[request.param]
    return CausalTransformer(50, dim=16, max_length=12, n_blocks=2, dropout=0.1, block=block).eval()


def test_left_padded_last_state_equals_right_padded_training_state(net: CausalTransformer) -> None:
    items = torch.randint(1, 51, (7,))
    hidden = net(torch.cat([items, torch.zeros(5, dtype=torch.long)])[None])
    last = net.last(torch.cat([torch.zeros(5, dtype=torch.long), items])[None])
    torch.testing.assert_close(last, hidden[:, 6], atol=1e-5, rtol=1e-5)


def test_future_items_do_not_change_the_past(net: CausalTransformer) -> None:
    history = torch.randint(1, 51, (1, 12))
    changed = history.clone()
    changed[0, 8:] = torch.randint(1, 51, (4,))
    torch.testing.assert_close(net(history)[:, :8], net(changed)[:, :8])


def test_amount_of_padding_does_not_matter(net: CausalTransformer) -> None:
    history = torch.tensor([[3, 4, 5]])
    padded = torch.cat([torch.zeros(1, 6, dtype=torch.long), history], dim=1)
    torch.testing.assert_close(net.last(history), net.last(padded), atol=1e-5, rtol=1e-5)


def test_all_padding_gives_finite_states(net: CausalTransformer) -> None:
    assert torch.isfinite(net.last(torch.zeros(2, 4, dtype=torch.long))).all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim 10 is not a multiple of heads 4"):
        GatedBlock(dim=10, heads=4, dropout=0.0)
