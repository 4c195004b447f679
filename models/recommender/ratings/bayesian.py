"""Bayesian matrix factorization: the mean answer of many plausible models instead of one.

BPMF by Gibbs sampling (Salakhutdinov & Mnih, ICML 2008), with users' and items' attributes and the
sets of what they rated in the prior means, through a sampled linear map (Simm et al., "Macau",
MLSP 2017). Nothing is tuned: how strongly to regularize, and how noisy ratings are, is sampled too.
What users rated at all tells of their taste, which is the idea of SVD++ (Koren, KDD 2008).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from scipy import sparse
from torch import Tensor

from models.recommender.interactions import Interactions
from models.recommender.ratings.equations import beside_one, normal_equations
from models.recommender.ratings.factors import FactorModel
from models.recommender.ratings.low_rank import low_rank
from models.recommender.ratings.prior import Prior
from models.recommender.ratings.side import AttributeSource, side_features
from models.recommender.ratings.table import Ratings

log = logging.getLogger(__name__)


class BayesianFactorization(FactorModel):
    """Biases and vectors, averaged over the draws of a Gibbs sampler.

    Limits: the sampler holds U × D² numbers, and the map of attributes a dense square of the
    number of attributes; for data whose users and items are up to some ten thousands.

    Args:
        dims: width of the vectors.
        draws: models that are averaged.
        burn_in: draws thrown away before.
        users, items: readers of attributes (`categories`); None: none.
        rated_sets: whether what a user rated, and who rated an item, shapes the prior.
        map_precision: λ of the map from attributes to vectors.
        rank: width of the product that the average is kept as.
    """

    what = "Bayesian matrix factorization with attributes and rated sets in the priors"

    def __init__(
        self,
        scale: Sequence[float] | None,
        dims: int = 20,
        draws: int = 120,
        burn_in: int = 30,
        users: AttributeSource | None = None,
        items: AttributeSource | None = None,
        rated_sets: bool = True,
        map_precision: float = 10.0,
        rank: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(scale)
        self.dims = dims
        self.draws = draws
        self.burn_in = burn_in
        self.users = users
        self.items = items
        self.rated_sets = rated_sets
        self.map_precision = map_precision
        self.rank = rank
        self.seed = seed

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        ratings = Ratings.of(data, train)
        rng = np.random.default_rng(self.seed)
        given = ratings.matrix(np.ones(len(ratings)))
        user = _Side(given, self._prior(given, data.user_ids, self.users, rng), rng)
        across = given.T.tocsr()
        item = _Side(across, self._prior(across, data.item_ids, self.items, rng), rng)
        rest = ratings.stars.astype(np.float64) - ratings.mean
        precision = 1.0
        sums = [np.zeros(ratings.n_users), np.zeros(ratings.n_items)]
        vectors: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for draw in range(self.burn_in + self.draws):
            target = ratings.matrix(rest - item.factors[ratings.item, 0].numpy())
            user.draw(target, item.factors, precision)
            target = ratings.matrix(rest - user.factors[ratings.user, 0].numpy()).T.tocsr()
            item.draw(target, user.factors, precision)
            u, i = user.factors[ratings.user], item.factors[ratings.item]
            error = rest - (u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(1)).numpy()
            precision = rng.gamma((len(rest) + 1) / 2, 2 / (error @ error + 1))
            if draw >= self.burn_in:
                for n, side in enumerate((user, item)):
                    sums[n] += side.factors[:, 0].numpy()
                    vectors[n].append(side.factors[:, 1:].float().numpy())
            if (draw + 1) % 30 == 0:
                rmse = float(np.sqrt(error @ error / len(error)))
                log.info("draw %d of %d: training rmse %.4f, noise %.3f", draw + 1,
                         self.burn_in + self.draws, rmse, precision**-0.5)  # fmt: skip
        left, right = low_rank(np.hstack(vectors[0]) / self.draws, np.hstack(vectors[1]), self.rank)
        self.keep(ratings.mean, sums[0] / self.draws, sums[1] / self.draws, left, right)

    def _prior(
        self,
        given: sparse.csr_matrix,
        ids: pl.Series,
        attributes: AttributeSource | None,
        rng: np.random.Generator,
    ) -> Prior:
        features = side_features(given if self.rated_sets else None, ids, attributes)
        return Prior(given.shape[0], self.dims + 1, features, self.map_precision, rng)


class _Side:
    """Users, or items: their current draw and how to make the next."""

    def __init__(self, given: sparse.csr_matrix, prior: Prior, rng: np.random.Generator) -> None:
        self.given = given
        self.prior = prior
        self.rng = rng
        start = rng.normal(0, 0.1, (given.shape[0], prior.width))
        self.factors = torch.from_numpy(start)  # [n, D + 1]: bias, vector

    def draw(self, target: sparse.csr_matrix, others: Tensor, precision: float) -> None:
        """Sample all rows given the other side; `precision` is that of a rating."""
        mean, prior_precision = self.prior.draw(self.factors)
        a, b = normal_equations(self.given, target, beside_one(others))
        a = precision * a + prior_precision
        b = precision * b + mean @ prior_precision
        root = torch.linalg.cholesky(a)
        middle = torch.cholesky_solve(b[:, :, None], root)
        noise = torch.from_numpy(self.rng.standard_normal((*b.shape, 1)))
        spread = torch.linalg.solve_triangular(root.transpose(1, 2), noise, upper=True)
        self.factors = (middle + spread)[:, :, 0]
