"""Biased matrix factorization for ratings, the model that is called SVD since Netflix's prize.

Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer 2009;
solved by alternating least squares with regularization weighted by the number of ratings (Zhou et
al., AAIM 2008).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.recommender.interactions import Interactions
from models.recommender.ratings.biases import biases
from models.recommender.ratings.equations import beside_one, normal_equations
from models.recommender.ratings.factors import FactorModel
from models.recommender.ratings.table import Ratings


class BiasedSVD(FactorModel):
    """Biases and vectors of users and items, solved for in turns.

    Args:
        dims: width of the vectors.
        regularization: λ on a vector, times its number of ratings.
        bias_shrinkage: λ on a bias, in imagined ratings.
        sweeps: turns of users and items.
    """

    what = "Biased matrix factorization (SVD)"

    def __init__(
        self,
        scale: Sequence[float] | None,
        dims: int = 10,
        regularization: float = 0.1,
        bias_shrinkage: float = 5.0,
        sweeps: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(scale)
        self.dims = dims
        self.regularization = regularization
        self.bias_shrinkage = bias_shrinkage
        self.sweeps = sweeps
        self.seed = seed

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        ratings = Ratings.of(data, train)
        rng = np.random.default_rng(self.seed)
        given = {"user": ratings.matrix(np.ones(len(ratings)))}
        given["item"] = given["user"].T.tocsr()
        counts = {side: torch.from_numpy(np.diff(m.indptr)) for side, m in given.items()}
        found = biases(ratings, self.bias_shrinkage, self.bias_shrinkage, 10)
        factors = {
            side: torch.from_numpy(
                np.column_stack([bias, rng.normal(0, 0.1, (len(bias), self.dims))])
            )
            for side, bias in zip(("user", "item"), found, strict=True)
        }
        rest = ratings.stars.astype(np.float64) - ratings.mean
        for _ in range(self.sweeps):
            for side, other in (("user", "item"), ("item", "user")):
                others = ratings.item if side == "user" else ratings.user
                target = ratings.matrix(rest - factors[other][:, 0].numpy()[others])
                target = target if side == "user" else target.T.tocsr()
                a, b = normal_equations(given[side], target, beside_one(factors[other]))
                ridge = torch.full((len(a), self.dims + 1), self.regularization).double()
                ridge *= counts[side][:, None].clamp(min=1)
                ridge[:, 0] = self.bias_shrinkage
                a += torch.diag_embed(ridge)
                factors[side] = torch.linalg.solve(a, b)
        tables = [factors[side].numpy() for side in ("user", "item")]
        self.keep(ratings.mean, *(t[:, 0] for t in tables), *(t[:, 1:] for t in tables))
