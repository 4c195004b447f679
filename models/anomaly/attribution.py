"""A score shared out among the fields."""

from __future__ import annotations

import torch
from torch import Tensor


def share_out(score: Tensor, parts: Tensor, present: Tensor) -> Tensor:
    """[B, F], not negative, in proportion to `parts`; each row sums to its score.

    A missing field gets nothing, unless all are missing; where no field has a part, all get the
    same. (A small number added to the parts would do in PyTorch, but its exporter takes one below
    1e-8 for zero and drops it.)

    Args:
        score: [B].
        parts: [B, F], not negative.
        present: [B, F]: 1 where a value was there, else 0.
    """
    parts = parts * present
    even = torch.where(present.sum(1, keepdim=True) > 0, present, torch.ones_like(present))
    parts = torch.where(parts.sum(1, keepdim=True) > 0, parts, even)
    return score[:, None] * parts / parts.sum(1, keepdim=True)
