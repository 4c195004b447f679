"""Several rating models' answers, weighted by what held-out ratings say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.recommender.interactions import DataError, Interactions
from models.recommender.ratings.model import RatingModel

log = logging.getLogger(__name__)


class RatingBlend(RatingModel):
    """Stars = constant + weighted sum of the parts' stars, by least squares on validation.

    Args:
        parts: name → rating model; a part set to null is left out.
        penalty: ridge on the distance of the weights from the mean of all parts, in ratings: with
            little validation data the blend is that mean.
    """

    tunable = True
    weights: Tensor  # [P]
    constant: Tensor  # []

    def __init__(
        self,
        scale: Sequence[float] | None,
        parts: Mapping[str, RatingModel | None],
        penalty: float = 10.0,
    ) -> None:
        super().__init__(scale)
        self.parts = nn.ModuleDict({k: v for k, v in parts.items() if v is not None})
        if len(self.parts) < 2:
            raise DataError(f"a blend has at least 2 parts, not {list(self.parts)}")
        self.penalty = penalty
        self.register_buffer("weights", torch.full((len(self.parts),), 1 / len(self.parts)))
        self.register_buffer("constant", torch.zeros(()))

    @property
    def what(self) -> str:  # type: ignore[override]
        shares = zip(self.parts, self.weights.tolist(), strict=True)
        return "A blend of " + ", ".join(f"{name} ({weight:.2f})" for name, weight in shares)

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        for part in self._parts():
            part.fit(data, train)

    def tune(self, data: Interactions, validation: np.ndarray) -> None:
        for part in self._parts():
            part.tune(data, validation)
        answers = np.column_stack([p.predict(data, validation) for p in self._parts()]).astype(
            np.float64
        )
        assert data.rating is not None, "the parts were fitted to ratings"
        # What is left of the mean of the parts is explained by how they differ from it.
        mean = answers.mean(1)
        design = np.column_stack([answers - mean[:, None], np.ones(len(answers))])
        ridge = np.diag([self.penalty] * len(self.parts) + [0.0])
        left = data.rating[validation] - mean
        found = np.linalg.solve(design.T @ design + ridge, design.T @ left)
        moved = found[:-1] - found[:-1].mean()
        self.weights = torch.from_numpy(1 / len(self.parts) + moved).float()
        self.constant = torch.tensor(found[-1], dtype=torch.float32)
        log.info("%s, constant %.3f", self.what, float(self.constant))

    def stars(self, user: Tensor, item: Tensor) -> Tensor:
        answers = torch.stack([part(user, item) for part in self._parts()], dim=1)  # [B, P]
        return self.constant + answers @ self.weights

    def catalog(self, user: Tensor) -> Tensor:
        answers = torch.stack([part.catalog(user) for part in self._parts()], dim=2)
        return self.constant + answers @ self.weights

    def _parts(self) -> list[RatingModel]:
        return list(self.parts.values())  # type: ignore[arg-type]
