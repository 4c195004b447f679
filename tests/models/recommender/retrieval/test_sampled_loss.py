"""The corrected loss against sums by hand, and against the whole catalog in expectation."""

import math

import pytest
import torch

from models.recommender.retrieval.frequency import ExactCounts, StreamingFrequency
from models.recommender.retrieval.sampled_loss import mixed_inclusion, sampled_softmax

COUNTS = torch.tensor([0, 40, 25, 20, 10, 4, 1])


def test_loss_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    states, candidates = (torch.randn(n, 4, generator=generator) for n in (3, 5))
    positive = torch.tensor([2, 0, 4])
    inclusion = torch.tensor([0.9, 0.5, 0.1, 1.0, 0.02])
    spared = torch.zeros(3, 5, dtype=torch.bool)
    spared[0, 1] = spared[0, 2] = True  # its own item counts although it was touched
    by_hand = []
    for p in range(3):
        own = math.exp(states[p] @ candidates[positive[p]])
        total = own
        for c in range(5):
            if c != positive[p] and not spared[p, c]:
                total += math.exp(states[p] @ candidates[c]) / float(inclusion[c])
        by_hand.append(-math.log(own / total))
    loss = sampled_softmax(states, candidates, positive, inclusion, spared)
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)


def test_correcting_the_own_item_is_plain_log_q() -> None:
    states, candidates = torch.randn(3, 4), torch.randn(5, 4)
    inclusion = torch.tensor([0.9, 0.5, 0.1, 1.0, 0.02])
    positive = torch.tensor([2, 0, 4])
    plain = torch.nn.functional.cross_entropy(states @ candidates.T - inclusion.log(), positive)
    loss = sampled_softmax(states, candidates, positive, inclusion, correct_positive=True)
    torch.testing.assert_close(loss, plain)


def test_sums_over_batches_estimate_the_sum_over_the_catalog() -> None:
    """The mean over many batches of Σ exp(s) / inclusion is Σ exp(s) over all items."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(7, generator=generator)
    scores[0] = -torch.inf
    truth = scores.exp().sum().item()
    frequency, draws, uniform = ExactCounts(COUNTS), 4, 2
    items = torch.arange(7)
    inclusion = mixed_inclusion(frequency.inclusion(items, draws), uniform, 6)
    totals, plain = [], []
    for _ in range(6_000):
        batch = torch.multinomial(COUNTS.float(), draws, replacement=True, generator=generator)
        more = torch.randint(1, 7, (uniform,), generator=generator)
        there = torch.cat([batch, more]).unique()
        totals.append((scores[there].exp() / inclusion[there]).sum().item())
        plain.append(scores[there].exp().sum().item())
    assert sum(totals) / len(totals) == pytest.approx(truth, rel=0.04)
    assert sum(plain) / len(plain) < 0.8 * truth  # what the correction is for


def test_a_batch_that_holds_everything_is_the_full_softmax() -> None:
    states, table = torch.randn(4, 8), torch.randn(6, 8)
    own = torch.tensor([0, 3, 3, 5])
    loss = sampled_softmax(states, table, own, torch.ones(6))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(states @ table.T, own))


def test_exact_counts_give_the_probability_to_be_drawn_at_all() -> None:
    found = ExactCounts(COUNTS).inclusion(torch.arange(7), 3)
    expected = [1 - (1 - n / 100) ** 3 for n in COUNTS.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_streaming_estimates_come_close_to_the_counts() -> None:
    generator = torch.Generator().manual_seed(2)
    streaming, draws = StreamingFrequency(COUNTS, rate=0.01, first=3.0), 4
    for _ in range(3000):
        batch = torch.multinomial(COUNTS.float(), draws, replacement=True, generator=generator)
        streaming.observe(batch.unique())
    items = torch.arange(1, 6)
    exact = ExactCounts(COUNTS).inclusion(items, draws)
    torch.testing.assert_close(streaming.inclusion(items, draws), exact, rtol=0.3, atol=0.0)


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="rate must lie in 0 < rate ≤ 1, not 0"):
        StreamingFrequency(COUNTS, rate=0)
