"""DCNv2: feature crosses by low-rank matrices, beside or below a multi-layer perceptron.

Wang et al., "DCN V2: Improved Deep & Cross Network", WWW 2021, arXiv 2008.13535; the stacked form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchrec.modules.crossnet import LowRankCrossNet

from models.recommender.ranking.nets.affinity import Affinity
from models.recommender.ranking.nets.net import RankingNet, answer, layers
from models.recommender.ranking.shape import Shape


class DCN(RankingNet):
    """All vectors and dense numbers side by side, crossed `crosses` times, then a perceptron.

    Args:
        crosses: layers of crosses; the degree of the polynomial is one more.
        rank: of each cross's matrices.
        bottom, top, dropout: as in DLRM.
    """

    def __init__(
        self,
        shape: Shape,
        dim: int,
        crosses: int,
        rank: int,
        bottom: Sequence[int],
        top: Sequence[int],
        dropout: float = 0.0,
        init_std: float = 0.01,
        affinity: Callable[..., Affinity] | None = None,
    ) -> None:
        super().__init__(shape, dim, init_std, affinity)
        self.bottom = layers(self.numbers, [*bottom, dim], 0.0)
        width = dim * (1 + len(self.bags))
        self.cross = LowRankCrossNet(width, crosses, min(rank, width))
        self.top = layers(width, top, dropout)
        self.answer = answer([width, *top][-1], shape.base_rate)

    def head(self, dense: Tensor, pooled: Tensor) -> Tensor:
        flat = torch.cat([self.bottom(dense), pooled.flatten(1)], dim=1)
        logits: Tensor = self.answer(self.top(self.cross(flat)))
        return torch.squeeze(logits, 1)
