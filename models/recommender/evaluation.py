"""Full-ranking evaluation: every unseen item competes, on the device, a batch at a time.

Metrics (lower-case names of the metrics contract): `hit_rate@k`, `ndcg@k`, `mrr`, `coverage@k`
(share of the catalog that appears in some list of length k), and what lenses make of the lists
(see `models.recommender.beyond`). No sampled negatives, ever: they
rank models differently from the full catalog (Krichene & Rendle, KDD 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.recommender.histories import Histories
from models.recommender.interactions import DataError, Interactions, Ints

Scorer = Callable[..., Tensor]  # left-padded history [B, T] → scores [B, V + 1]


class Lens(Protocol):
    """Something that looks at the lists of an evaluation; see `models.recommender.beyond`."""

    def fit(self, data: Interactions, train: np.ndarray) -> None: ...

    def see(self, lists: Tensor, histories: Histories) -> None: ...

    def metrics(self, ks: Sequence[int]) -> dict[str, float]: ...


@dataclass(frozen=True)
class RankingTask:
    """R questions: after this history, which item came next?"""

    histories: Histories  # R
    targets: Tensor  # [R] graph ids
    users: Tensor  # [R] positions in the user vocabulary
    n_items: int

    @classmethod
    def build(
        cls,
        data: Interactions,
        known: np.ndarray,
        held_out: np.ndarray,
        exclude_users: np.ndarray | None = None,
    ) -> RankingTask:
        """Ask for each held-out interaction what its user's known history says.

        Args:
            known, held_out: [N] bool; a held-out item that its user touched before is not asked
                for, since seen items are removed from the ranking.
            exclude_users: [U] bool, users left out of metrics.

        Raises:
            DataError: no question is left.
        """
        asked = held_out.copy()
        if exclude_users is not None:
            asked &= ~exclude_users[data.user]
        rows = np.flatnonzero(asked)
        histories = Histories.before(data, known, rows)
        some = (histories.lengths > 0).numpy()
        if not some.any():
            raise DataError(
                "no user has both a known and a held-out interaction: nothing to evaluate; "
                "use another split or a smaller k_core"
            )
        rows = rows[some & ~_touched_before(data, known, rows)]
        if not len(rows):
            raise DataError("every held-out item was touched before: nothing new to evaluate")
        return cls(
            Histories.before(data, known, rows),
            torch.from_numpy(data.item[rows]),
            torch.from_numpy(data.user[rows]),
            data.n_items,
        )

    @classmethod
    def of_users(cls, data: Interactions, known: np.ndarray, held_out: np.ndarray) -> RankingTask:
        """Ask for each held-out interaction what all that is known of its user says.

        Where the split is random, what is known may be younger than what is asked for: nobody
        claims to foretell it.

        Raises:
            DataError: no question is left.
        """
        rows = np.flatnonzero(held_out)
        pair = data.user * (data.n_items + 1) + data.item
        histories = Histories.of_users(data, known)
        some = (histories.lengths > 0).numpy()[data.user[rows]]
        rows = rows[some & ~np.isin(pair[rows], pair[known])]
        if not len(rows):
            raise DataError("no user has both a known and another held-out item: nothing to rank")
        users = torch.from_numpy(data.user[rows])
        return cls(histories.take(users), torch.from_numpy(data.item[rows]), users, data.n_items)

    def to(self, device: torch.device) -> RankingTask:
        return RankingTask(
            self.histories.to(device),
            self.targets.to(device),
            self.users.to(device),
            self.n_items,
        )

    def __len__(self) -> int:
        return len(self.targets)


def _touched_before(data: Interactions, known: np.ndarray, rows: Ints) -> np.ndarray:
    """[R] bool: whether a row's user touched its item in an earlier known interaction."""
    pair = data.user * (data.n_items + 1) + data.item
    before = np.flatnonzero(known)
    pairs, first = np.unique(pair[before], return_index=True)  # the earliest of each pair
    if not len(pairs):
        return np.zeros(len(rows), dtype=bool)
    place = np.minimum(np.searchsorted(pairs, pair[rows]), len(pairs) - 1)
    seen: np.ndarray = (pairs[place] == pair[rows]) & (before[first[place]] < rows)
    return seen


@torch.inference_mode()
def evaluate(
    scorer: Scorer,
    task: RankingTask,
    *,
    max_length: int,
    ks: Sequence[int] = (1, 5, 10, 20),
    batch_size: int = 512,
    lenses: Sequence[Lens] = (),
    with_rows: bool = False,
    with_users: bool = False,
) -> dict[str, float]:
    """Rank the target of every question among all items but those in its history.

    Ties count half: an all-equal scorer gets the middle rank, not the first. A target without a
    number for its score, as of a model that diverged, takes the last rank.

    Args:
        lenses: fitted; they see every list, and their metrics join the others.
        with_rows: the scorer also gets which questions it is asked, [B]: models that know their
            users need no history.
        with_users: the scorer also gets whose history it is, [B] codes from 1.
    """
    ranks = []
    shown = torch.zeros(len(ks), task.n_items + 1, dtype=torch.bool, device=task.targets.device)
    order = torch.argsort(task.histories.lengths)  # equal lengths together: little padding
    for rows in order.split(batch_size):
        seen = task.histories.take(rows)
        history = seen.recent(max_length).pad("left")
        asked = [
            history,
            *([rows] if with_rows else []),
            *([task.users[rows] + 1] if with_users else []),
        ]
        scores = scorer(*asked).float()
        targets = task.targets[rows, None]
        target_scores = scores.gather(1, targets)
        scores.scatter_(1, seen.pad("left"), -torch.inf)
        scores[:, 0] = -torch.inf
        greater = (scores > target_scores).sum(1)
        ties = (scores == target_scores).sum(1) - 1
        rank = greater + ties.div(2, rounding_mode="floor")
        # NaN is neither above nor equal to anything: without this it would rank before the first.
        ranks.append(rank.masked_fill(target_scores[:, 0].isnan(), task.n_items - 1))
        top = scores.topk(min(max(ks), task.n_items), dim=1).indices
        for i, k in enumerate(ks):
            shown[i, top[:, :k].flatten()] = True
        for lens in lenses:
            lens.see(top, seen)
    return {
        **rank_metrics(torch.cat(ranks), ks),
        **_coverage(shown, ks, task.n_items),
        **{name: value for lens in lenses for name, value in lens.metrics(ks).items()},
    }


def rank_metrics(ranks: Tensor, ks: Sequence[int]) -> dict[str, float]:
    """Metrics from zero-based ranks [R] of one relevant item each."""
    place = ranks.double() + 1
    metrics = {"mrr": (1 / place).mean().item()}
    for k in ks:
        hit = (place <= k).double()
        metrics[f"hit_rate@{k}"] = hit.mean().item()
        metrics[f"ndcg@{k}"] = (hit / torch.log2(place + 1)).mean().item()
    return metrics


def _coverage(shown: Tensor, ks: Sequence[int], n_items: int) -> dict[str, float]:
    return {f"coverage@{k}": shown[i, 1:].sum().item() / n_items for i, k in enumerate(ks)}
