"""The evaluator against a slow, obvious one."""

import math

import numpy as np
import pytest
import torch

from models.recommender.evaluation import RankingTask, evaluate, rank_metrics
from models.recommender.interactions import DataError
from tests.models.recommender.test_histories import interactions


def leave_last_out(histories: list[list[int]]) -> RankingTask:
    data = interactions(histories)
    ends = data.user_starts()[1:]
    held_out = np.zeros(len(data), dtype=bool)
    held_out[ends - 1] = True
    return RankingTask.build(data, ~held_out, held_out)


def test_metrics_of_known_ranks() -> None:
    metrics = rank_metrics(torch.tensor([0, 1, 9, 10]), ks=[10])
    assert metrics["hit_rate@10"] == 0.75
    assert metrics["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 4)
    expected = (1 + 1 / math.log2(3) + 1 / math.log2(11)) / 4
    assert metrics["ndcg@10"] == pytest.approx(expected)


def test_agrees_with_a_brute_force_ranking() -> None:
    rng = np.random.default_rng(0)
    n_items = 30
    histories = [rng.permutation(n_items)[: rng.integers(2, 12)].tolist() for _ in range(40)]
    histories.append(list(range(n_items)))  # every item occurs
    task = leave_last_out(histories)
    table = torch.from_numpy(rng.normal(size=(task.n_items + 1, task.n_items + 1)))

    def scorer(history: torch.Tensor) -> torch.Tensor:
        return table[history[:, -1]]

    ranks = []
    for row in range(len(task)):
        history = task.histories.take(torch.tensor([row])).pad()[0]
        target = int(task.targets[row])
        scores = {i: float(table[history[-1], i]) for i in range(1, task.n_items + 1)}
        for item in history.tolist():
            scores.pop(item, None)
        ranks.append(sorted(scores, key=scores.__getitem__, reverse=True).index(target))
    expected = rank_metrics(torch.tensor(ranks), ks=[1, 10])
    measured = evaluate(scorer, task, max_length=50, ks=[1, 10], batch_size=7)
    assert {k: measured[k] for k in expected} == pytest.approx(expected)


def test_a_constant_scorer_gets_the_middle_not_the_top() -> None:
    task = leave_last_out([[0, i] for i in range(1, 100)])
    metrics = evaluate(lambda h: torch.zeros(len(h), task.n_items + 1), task, max_length=5)
    assert metrics["hit_rate@10"] == 0.0


def test_a_diverged_model_gets_the_last_rank_not_the_first() -> None:
    task = leave_last_out([[0, i] for i in range(1, 100)])
    metrics = evaluate(
        lambda h: torch.full((len(h), task.n_items + 1), torch.nan), task, max_length=5
    )
    assert metrics["mrr"] == pytest.approx(1 / task.n_items)
    assert metrics["ndcg@20"] == 0.0


def test_coverage_counts_distinct_shown_items() -> None:
    task = leave_last_out([[0, 1], [2, 3], [4, 5]])
    always = torch.arange(task.n_items + 1).float()
    metrics = evaluate(lambda h: always.repeat(len(h), 1), task, max_length=5, ks=[1])
    assert metrics["coverage@1"] == pytest.approx(1 / task.n_items)


def test_excluded_users_are_not_measured_but_stay_in_the_data() -> None:
    data = interactions([[0, 1, 2], [3, 4, 5]])
    held_out = np.array([0, 0, 1, 0, 0, 1], dtype=bool)
    task = RankingTask.build(data, ~held_out, held_out, np.array([True, False]))
    assert task.users.tolist() == [1]
    assert task.n_items == 6


def test_nothing_to_evaluate_is_an_error() -> None:
    data = interactions([[0], [1]])
    with pytest.raises(DataError, match="nothing to evaluate"):
        RankingTask.build(data, np.zeros(2, dtype=bool), np.ones(2, dtype=bool))


def test_items_touched_before_are_not_asked_for() -> None:
    """They are removed from every list, so no model could be right about them."""
    data = interactions([[0, 1, 0], [1, 2, 3], [2, 2], [5, 6, 5, 7, 6]])
    held_out = np.zeros(len(data), dtype=bool)
    held_out[data.user_starts()[1:] - 1] = True
    task = RankingTask.build(data, ~held_out, held_out)
    assert task.users.tolist() == [1]
    # Touched again later is not touched before.
    held_out[:] = False
    held_out[data.user_starts()[:-1] + 1] = True
    assert RankingTask.build(data, ~held_out, held_out).users.tolist() == [0, 1, 3]


def test_only_repeats_held_out_is_an_error() -> None:
    data = interactions([[0, 0], [1, 1]])
    held_out = np.array([False, True, False, True])
    with pytest.raises(DataError, match="nothing new to evaluate"):
        RankingTask.build(data, ~held_out, held_out)
