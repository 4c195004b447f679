"""The rows of all processes, put together so that gradients find their way back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process among them."""
    return dist.get_rank() if processes() > 1 else 0


def gathered(own: Tensor) -> Tensor:
    """[N, …] of this process → [processes · N, …] of all, by their ranks; N is the same in all.

    The gradient of a process's rows is the sum of what all processes have for them.
    """
    if processes() == 1:
        return own
    found: Tensor = _Gathered.apply(own)  # type: ignore[no-untyped-call]
    return found


class _Gathered(torch.autograd.Function):
    # Not torch.distributed.nn's, which is deprecated in one torch and alone in another.
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        ctx.rows = len(own)
        parts = [torch.empty_like(own) for _ in range(processes())]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total[rank() * ctx.rows :][: ctx.rows]
