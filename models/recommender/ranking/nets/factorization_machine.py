"""A factorization machine: a weight for each feature, a dot product for each pair.

Rendle, "Factorization Machines", ICDM 2010.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.recommender.ranking.nets.net import RankingNet
from models.recommender.ranking.shape import Shape


class FactorizationMachine(RankingNet):
    """The embeddings' last number is the feature's own weight; the others are its factors.

    Args:
        dim: factors and the weight together.
    """

    def __init__(self, shape: Shape, dim: int, init_std: float = 0.01) -> None:
        super().__init__(shape, dim, init_std)
        self.factors = nn.Parameter(torch.randn(self.dense_input.width, dim) * init_std)
        start = math.log(shape.base_rate / (1 - shape.base_rate))
        self.bias = nn.Parameter(torch.tensor(start))

    def head(self, dense: Tensor, pooled: Tensor) -> Tensor:
        vectors = torch.cat([dense.unsqueeze(2) * self.factors, pooled], dim=1)  # [B, 2F + C, D]
        own, factors = vectors[..., -1], vectors[..., :-1]
        pairs = factors.sum(1).square() - factors.square().sum(1)
        return self.bias + own.sum(1) + 0.5 * pairs.sum(1)
