"""DLRM: dot products of all pairs of vectors, then a multi-layer perceptron.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems",
2019, arXiv 1906.00091.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchrec.models.dlrm import InteractionArch

from models.recommender.ranking.nets.affinity import Affinity
from models.recommender.ranking.nets.net import RankingNet, answer, layers
from models.recommender.ranking.shape import Shape


class DLRM(RankingNet):
    """Dense numbers become one more vector; every pair of vectors answers with its dot product.

    Args:
        bottom: widths of the perceptron over dense numbers; a last layer of width D follows.
        top: widths of the perceptron over the products.
        dropout: after each layer of `top`.
    """

    def __init__(
        self,
        shape: Shape,
        dim: int,
        bottom: Sequence[int],
        top: Sequence[int],
        dropout: float = 0.0,
        init_std: float = 0.01,
        affinity: Callable[..., Affinity] | None = None,
    ) -> None:
        super().__init__(shape, dim, init_std, affinity)
        bags = len(self.bags)
        self.bottom = layers(self.numbers, [*bottom, dim], 0.0)
        self.interaction = InteractionArch(bags)
        width = dim + bags * (bags + 1) // 2
        self.top = layers(width, top, dropout)
        self.answer = answer([width, *top][-1], shape.base_rate)

    def head(self, dense: Tensor, pooled: Tensor) -> Tensor:
        products: Tensor = self.interaction(self.bottom(dense), pooled)
        logits: Tensor = self.answer(self.top(products))
        return torch.squeeze(logits, 1)
