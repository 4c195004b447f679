"""What every ranking network has: embedding bags, scaled dense numbers, and a head over both.

Training looks up in an `EmbeddingBagCollection`, which torchrec can shard over processes. The head
takes pooled vectors, so that the exported graph can pool by plain gathers of padded tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.recommender.ranking.nets.affinity import Affinity
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.sparse import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    KeyedJaggedTensor,
    KeyedTensor,
    PoolingType,
)


class DenseInput(nn.Module):
    """Dense numbers [B, F] with NaN where missing → scaled numbers and missing marks [B, 2F].

    A missing number counts as an average one; its mark lets the network learn what else it means.
    Without any dense number, one column of zeros.
    """

    log: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width = max(2 * len(shape.dense), 1)
        self.register_buffer("log", torch.tensor(shape.log, dtype=torch.bool))
        self.register_buffer("center", torch.tensor(shape.center, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(shape.scale, dtype=torch.float32))

    def forward(self, dense: Tensor) -> Tensor:
        if dense.shape[1] == 0:
            return dense.new_zeros(len(dense), 1)
        missing = dense.isnan()
        x = torch.where(missing, 0.0, dense)
        x = torch.where(self.log, x.sign() * x.abs().log1p(), x)
        # Far outside what training saw, an input must not drown all others.
        x = ((x - self.center) / self.scale).clamp(-10.0, 10.0)
        return torch.cat([torch.where(missing, 0.0, x), missing.to(x.dtype)], dim=1)


class RankingNet(nn.Module):
    """Embeddings and dense input; subclasses have the head.

    Args:
        dim: width of the embeddings, D.
        init_std: of the embeddings' first values.
        affinity: called with `shape`, makes what adds one number of candidate and history; None:
            nothing does.
    """

    compiled_head: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(
        self,
        shape: Shape,
        dim: int,
        init_std: float,
        affinity: Callable[..., Affinity] | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.dim = dim
        self.affinity = affinity(shape=shape) if affinity is not None else None
        left_out = self.affinity and not self.affinity.pooled and self.affinity.history
        self.bags = tuple(name for name in shape.bags if name != left_out)  # [C] that are pooled
        self.embeddings = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=table.name,
                    num_embeddings=table.rows,
                    embedding_dim=dim,
                    feature_names=[name for name in table.fields if name in self.bags],
                    pooling=PoolingType.MEAN,  # an empty bag is zeros
                    init_fn=partial(nn.init.normal_, std=init_std),
                )
                for table in shape.tables
            ]
        )
        self.dense_input = DenseInput(shape)
        self.numbers = self.dense_input.width + (self.affinity is not None)

    def compile_head(self, mode: str | None = None) -> None:
        """Train with a compiled head. Tables stay as they are: torchrec has kernels of its own."""
        self.compiled_head = torch.compile(self.head, mode=mode)

    def forward(self, dense: Tensor, bags: KeyedJaggedTensor) -> Tensor:
        """→ logits [B]."""
        pooled = self._in_order(self.embeddings(bags)).view(len(dense), -1, self.dim)
        head = self.compiled_head if self.training and self.compiled_head else self.head
        numbers = self.dense_input(dense)
        if self.affinity is not None:
            numbers = torch.cat([numbers, self.affinity.of_bags(bags)], dim=1)
        return head(numbers, pooled)

    def _in_order(self, pooled: KeyedTensor) -> Tensor:
        """[B, C · D]. Sharded tables answer in an order of their own, by kind and by process."""
        keys = list(pooled.keys())
        values: Tensor = pooled.values()
        if keys == list(self.bags):
            return values
        columns = dict(zip(keys, values.split(pooled.length_per_key(), 1), strict=True))
        return torch.cat([columns[name] for name in self.bags], dim=1)

    def head(self, dense: Tensor, pooled: Tensor) -> Tensor:
        """Numbers [B, 2F], or [B, 2F + 1] with an affinity, and pooled [B, C, D] → logits [B]."""
        raise NotImplementedError


def layers(width: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU and dropout after each."""
    parts: list[nn.Module] = []
    for goal in widths:
        parts += [nn.Linear(width, goal), nn.ReLU()]
        parts += [nn.Dropout(dropout)] if dropout else []
        width = goal
    return nn.Sequential(*parts)


def answer(width: int, base_rate: float) -> nn.Linear:
    """The last layer, which starts at the base rate: calibration has nothing to make up for."""
    last = nn.Linear(width, 1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, math.log(base_rate / (1 - base_rate)))
    return last
