"""Learning-rate schedules that need to know only the total number of steps."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class ScheduleError(ValueError):
    """A schedule that needs to know when the training ends, for one that nobody can tell it of."""

    exit_code = 78  # EX_CONFIG


def warmup_cosine(
    optimizer: Optimizer, total_steps: int | None, warmup: float = 0.02, final: float = 0.1
) -> LambdaLR:
    """Linear warm-up over a share of the steps, then a half cosine down to `final` of the rate.

    Raises:
        ScheduleError: nobody knows how many steps there are.
    """
    if total_steps is None:
        raise ScheduleError(
            "nobody knows how many steps a stream has: give trainer.max_steps=…, or "
            "scheduler=constant"
        )
    start = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < start:
            return (step + 1) / start
        progress = min(1.0, (step - start) / max(1, total_steps - start))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int | None) -> LambdaLR:
    """The optimizer's own rate at every step."""
    return LambdaLR(optimizer, lambda _: 1.0)
