"""Each loss against its definition, gradients included."""

import math

import pytest
import torch
from torch.nn import functional as F

from models.recommender.losses import GBCE, FullCrossEntropy, NotNegative, SampledSoftmax


@pytest.fixture
def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 8, generator=generator, requires_grad=True)
    items = torch.randn(21, 8, generator=generator, requires_grad=True)
    targets = torch.randint(1, 21, (37,), generator=generator)
    return hidden, items, targets


@pytest.mark.parametrize("chunk", [5, 37, 1000])
def test_chunked_cross_entropy_equals_the_plain_one(problem, chunk) -> None:  # type: ignore[no-untyped-def]
    hidden, items, targets = problem
    plain = F.cross_entropy(hidden @ items[1:].T, targets - 1)
    expected = torch.autograd.grad(plain * 3, (hidden, items))
    chunked = FullCrossEntropy(chunk)(hidden, items, targets)
    actual = torch.autograd.grad(chunked * 3, (hidden, items))
    torch.testing.assert_close(chunked, plain)
    torch.testing.assert_close(actual, expected)


def test_sampled_softmax_estimates_the_full_one(problem) -> None:  # type: ignore[no-untyped-def]
    hidden, items, targets = problem
    torch.manual_seed(0)
    full = FullCrossEntropy()(hidden, items, targets)
    sampled = SampledSoftmax(20_000)(hidden, items, targets)
    assert sampled.item() == pytest.approx(full.item(), rel=0.02)


def test_sampled_softmax_never_counts_the_target_as_negative() -> None:
    hidden, items = torch.ones(4, 2), torch.ones(2, 2)  # a single item: every draw is the target
    assert SampledSoftmax(5)(hidden, items, torch.ones(4, dtype=torch.long)).item() == 0.0


def test_gbce_without_calibration_is_plain_bce() -> None:
    hidden = torch.tensor([[2.0]])
    items = torch.tensor([[0.0], [1.0], [0.5]])
    torch.manual_seed(0)
    loss = GBCE(negatives=400, calibration=0.0)(hidden, items, torch.tensor([1]))
    torch.manual_seed(0)
    negatives = int((torch.randint(1, 3, (1, 400)) == 2).sum())
    expected = F.softplus(torch.tensor(-2.0)) + negatives * F.softplus(torch.tensor(1.0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_gbce_full_calibration_weighs_the_positive_by_the_sampling_rate() -> None:
    hidden, items = torch.zeros(1, 1), torch.zeros(101, 1)
    loss = GBCE(negatives=10, calibration=1.0)(hidden, items, torch.tensor([1]))
    # All scores 0: each of the (at most 10) negatives adds log 2, the positive β·log 2, β = 10/100.
    assert 8 * math.log(2) < loss.item() <= (10 + 10 / 99) * math.log(2) + 1e-5


@pytest.mark.parametrize("make", [lambda: SampledSoftmax(0), lambda: GBCE(0), lambda: GBCE(5, 1.5)])
def test_impossible_settings_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="must"):
        make()


@pytest.fixture
def spared(problem) -> NotNegative:  # type: ignore[no-untyped-def]
    """Three runs of 13 items: 12 positions each, and one of the last run is padding."""
    _, _, targets = problem
    generator = torch.Generator().manual_seed(1)
    runs = torch.randint(1, 21, (3, 13), generator=generator)
    runs = torch.cat([runs, torch.tensor([[4, 5] + [0] * 11])])
    real = runs[:, 1:] != 0
    assert int(real.sum()) == len(targets)
    return NotNegative.of(runs, real.nonzero()[:, 0], 20)


def test_a_gpu_scores_many_positions_at_once_and_a_cpu_what_its_cache_holds() -> None:
    loss = FullCrossEntropy(chunk=512, gpu_logits=2**27)
    assert loss.positions(torch.device("cpu"), 3_416) == 512
    assert loss.positions(torch.device("cuda"), 3_416) == 39_290
    assert loss.positions(torch.device("cuda"), 10_000_000) == 512, "memory stays bounded"


@pytest.mark.parametrize("chunk", [5, 1000])
def test_spared_items_are_no_negatives(problem, spared, chunk) -> None:  # type: ignore[no-untyped-def]
    hidden, items, targets = problem
    logits = hidden @ items[1:].T
    target = F.one_hot(targets - 1, 20).bool()
    left_out = spared.touched[spared.run][:, 1:] & ~target
    plain = F.cross_entropy(logits.masked_fill(left_out, -torch.inf), targets - 1)
    expected = torch.autograd.grad(plain, (hidden, items))
    chunked = FullCrossEntropy(chunk)(hidden, items, targets, spared)
    actual = torch.autograd.grad(chunked, (hidden, items))
    torch.testing.assert_close(chunked, plain)
    torch.testing.assert_close(actual, expected)
    torch.manual_seed(0)
    # Uniform over all items, the estimate counts the share that is left.
    sampled = SampledSoftmax(50_000)(hidden, items, targets, spared)
    assert sampled.item() == pytest.approx(plain.item(), rel=0.02)


def test_gbce_spares_them_too() -> None:
    hidden, items = torch.ones(1, 1), torch.ones(3, 1)
    runs = torch.tensor([[1, 2]])
    spared = NotNegative.of(runs, torch.tensor([0]), 2)
    loss = GBCE(negatives=50, calibration=0.0)(hidden, items, torch.tensor([2]), spared)
    assert loss.item() == pytest.approx(F.softplus(torch.tensor(-1.0)).item())
