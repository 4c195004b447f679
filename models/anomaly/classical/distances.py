"""Euclidean distances to remembered rows, and the nearest of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Neighbours(NamedTuple):
    rows: Tensor  # [B, k] numbers of the remembered rows
    distance: Tensor  # [B, k]
    gap: Tensor  # [B, k, D] from each neighbour to the row


def squared(x: Tensor, rows: Tensor, weight: Tensor | None = None) -> Tensor:
    """[B, D] and [M, D] → [B, M]; `weight` [B, D] of each column. By matrix products: no [B, M, D].

    Exact only to about 1e-6 of the squared norms, which is enough to rank by.
    """
    if weight is None:
        norms = (x * x).sum(1, keepdim=True) + (rows * rows).sum(1)
        return norms - 2.0 * (x @ rows.T)
    weighted = weight * x
    norms = (weighted * x).sum(1, keepdim=True) + weight @ (rows * rows).T
    return norms - 2.0 * (weighted @ rows.T)


def nearest(x: Tensor, rows: Tensor, k: int) -> Neighbours:
    """The k nearest; their distances are computed anew from the differences, so a row that is
    remembered is at distance 0 from itself."""
    index = torch.topk(squared(x, rows), k, dim=1, largest=False).indices
    gap = x[:, None, :] - rows[index]
    return Neighbours(index, gap.square().sum(2).sqrt(), gap)
