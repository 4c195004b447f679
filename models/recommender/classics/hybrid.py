"""Hybrids: several recommenders' scores, blended with weights that validation chooses.

The weights are those of a conditional logit (McFadden, 1974) over the catalog: they make the item
that came next as likely as a weighted sum of the parts' scores can. It is convex: one optimum.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from models.recommender.classics.model import Classic
from models.recommender.evaluation import RankingTask
from models.recommender.interactions import DataError, Interactions

log = logging.getLogger(__name__)


class Hybrid(Classic):
    """Blend of standardised scores.

    Args:
        parts: name → recommender; a part set to null is left out.
        questions: of the validation split, at most, that weights are fitted on.
        max_cells: questions × parts × items held at once while they are; fewer questions are
            asked where this would be exceeded.
        penalty: on squared weights, so that one of two equal parts does not run away.
    """

    tunable = True
    weights: Tensor  # [P]

    def __init__(
        self,
        parts: Mapping[str, Classic | None],
        questions: int = 2000,
        max_cells: int = 100_000_000,
        penalty: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({k: v for k, v in parts.items() if v is not None})
        if len(self.parts) < 2:
            raise DataError(f"a hybrid blends at least 2 parts, not {list(self.parts)}")
        self.questions = questions
        self.max_cells = max_cells
        self.penalty = penalty
        self.seed = seed
        self.register_buffer("weights", torch.ones(len(self.parts)))

    @property
    def what(self) -> str:  # type: ignore[override]
        shares = zip(self.parts, self.weights.tolist(), strict=True)
        return "A blend of " + ", ".join(f"{name} ({weight:.2f})" for name, weight in shares)

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        for part in self._parts():
            part.fit(data, train)

    def tune(self, task: RankingTask, max_length: int) -> None:
        """Fit the weights on validation questions, seen items left out as in evaluation."""
        for part in self._parts():
            part.tune(task, max_length)
        cells = len(self.parts) * (task.n_items + 1)
        asked = min(self.questions, len(task), max(1, self.max_cells // cells))
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(task), generator=generator)[:asked]
        with torch.no_grad():
            scores = torch.cat(
                [self._standard(task.histories.take(r).recent(max_length).pad("left"))
                 for r in rows.split(256)]
            )  # [R, P, V + 1]  # fmt: skip
            hidden = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.bool)
            hidden.scatter_(1, task.histories.take(rows).pad("left"), True)
            hidden[:, 0] = True
        self.weights = self._likeliest(scores, hidden, task.targets[rows])
        log.info("%s, on %d validation questions", self.what, asked)

    def score(self, history: Tensor) -> Tensor:
        return (self._standard(history) * self.weights[:, None]).sum(1)

    def _standard(self, history: Tensor) -> Tensor:
        """[B, P, V + 1], each part's scores of a history with mean 0 and deviation 1."""
        scores = torch.stack([p.score(history) for p in self._parts()], dim=1)
        real = scores[:, :, 1:]
        middle = real.mean(2, keepdim=True)
        deviation = (real - middle).square().mean(2, keepdim=True).sqrt()
        return (scores - middle) / (deviation + 1e-6)

    def _likeliest(self, scores: Tensor, hidden: Tensor, targets: Tensor) -> Tensor:
        weights = torch.full((scores.shape[1],), 1.0 / scores.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=50, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = torch.einsum("rpv,p->rv", scores, weights).masked_fill(hidden, -torch.inf)
            loss = nn.functional.cross_entropy(logits, targets)
            loss = loss + self.penalty * weights.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return weights.detach()

    def _parts(self) -> list[Classic]:
        return list(self.parts.values())  # type: ignore[arg-type]
