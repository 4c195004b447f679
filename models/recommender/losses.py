"""Losses over the whole catalog or a sample of it.

All take hidden states [P, D] of the P real positions, the item table [V + 1, D] (row 0 is
padding), the target graph ids [P] and, optionally, the items that are no negatives, and return a
scalar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class NotNegative:
    """Items that must not count as negatives of a position: those its user touched.

    Where seen items are never recommended, teaching a model to score them low is wasted capacity;
    leaving them out of the negatives is the sampling of Klenitskiy & Vasilev (RecSys 2023), whose
    SASRec it lifts from .3152/.1821 to .3159/.1857 (HR@10/NDCG@10, MovieLens-1M).
    """

    touched: Tensor  # [B, V + 1] bool: what each run of the batch holds
    run: Tensor  # [P] int64: the run of each position

    @classmethod
    def of(cls, runs: Tensor, run: Tensor, n_items: int) -> NotNegative:
        """From runs [B, T + 1] and the run of each position [P]."""
        touched = torch.zeros(len(runs), n_items + 1, dtype=torch.bool, device=runs.device)
        return cls(touched.scatter_(1, runs, True), run)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ items.T`, gradients included, a chunk of positions at a time.

    The [P, V] logits never exist as a whole: a chunk stays in the processor's cache between its
    three uses, which is several times faster than the plain form on a CPU and saves the memory
    that bounds batch size on a GPU. The idea is that of fused linear cross-entropy (Wijmans et
    al., "Cut your losses", ICLR 2025).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        chunk: int,
        touched: Tensor | None,
        run: Tensor | None,
    ) -> Tensor:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden)
        items_grad = torch.zeros_like(items)
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk]
            target = targets[start : start + chunk, None]
            logits = (part @ items.T).float()
            positive = logits.gather(1, target)
            if touched is not None and run is not None:
                logits.masked_fill_(touched[run[start : start + chunk]], -torch.inf)
                logits.scatter_(1, target, positive)
            partition = torch.logsumexp(logits, dim=1, keepdim=True)
            loss += (partition - positive).sum()
            residual = logits.sub_(partition).exp_()  # softmax − one-hot is the gradient
            residual.scatter_add_(1, target, residual.new_full(target.shape, -1.0))
            residual = residual.to(items.dtype)
            torch.mm(residual, items, out=hidden_grad[start : start + chunk])
            items_grad.addmm_(residual.T, part)
        ctx.save_for_backward(hidden_grad, items_grad)
        ctx.positions = max(len(hidden), 1)
        return cast(Tensor, loss / ctx.positions)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, items_grad = ctx.saved_tensors
        scale = grads[0] / ctx.positions
        nothing = (None,) * 4
        return (hidden_grad * scale.to(hidden_grad.dtype), items_grad * scale, *nothing)


class FullCrossEntropy(nn.Module):
    """Softmax cross-entropy over all V items, exact, in O(chunk·V) memory.

    Args:
        chunk: positions at a time on a CPU, and at least on a GPU.
        gpu_logits: numbers [chunk, V] at a time on a GPU, where every chunk costs some twenty
            launches: with chunks that fit a processor's cache, a step spends its time on those.
    """

    def __init__(self, chunk: int = 512, gpu_logits: int = 2**27) -> None:
        super().__init__()
        self.chunk = chunk
        self.gpu_logits = gpu_logits

    def positions(self, device: torch.device, n_items: int) -> int:
        """How many positions are scored at once."""
        if device.type == "cpu":
            return self.chunk
        return max(self.chunk, self.gpu_logits // n_items)

    def forward(
        self, hidden: Tensor, items: Tensor, targets: Tensor, spared: NotNegative | None = None
    ) -> Tensor:
        items = items[1:].to(hidden.dtype)
        touched = spared.touched[:, 1:] if spared else None
        run = spared.run if spared else None
        chunk = self.positions(hidden.device, len(items))
        arguments = (hidden, items, targets - 1, chunk, touched, run)
        return cast(Tensor, _ChunkedCrossEntropy.apply(*arguments))  # type: ignore[no-untyped-call]


class SampledSoftmax(nn.Module):
    """Cross-entropy of the target among k uniform negatives, shared by the whole batch.

    Negative logits are raised by log(V / k), so that their sum estimates the full partition
    function (Jean et al., ACL 2015); a negative that is a position's own target is masked there.
    """

    def __init__(self, negatives: int) -> None:
        super().__init__()
        if negatives < 1:
            raise ValueError(f"negatives must be at least 1, not {negatives}")
        self.negatives = negatives

    def forward(
        self, hidden: Tensor, items: Tensor, targets: Tensor, spared: NotNegative | None = None
    ) -> Tensor:
        n_items = len(items) - 1
        sample = torch.randint(1, n_items + 1, (self.negatives,), device=items.device)
        positive = (hidden * items[targets]).sum(-1, keepdim=True)  # [P, 1]
        negative = hidden @ items[sample].T + math.log(n_items / self.negatives)  # [P, k]
        negative = negative.masked_fill(sample[None] == targets[:, None], -torch.inf)
        if spared:
            negative = negative.masked_fill(spared.touched[:, sample][spared.run], -torch.inf)
        logits = torch.cat([positive, negative], dim=1)
        return F.cross_entropy(logits, torch.zeros_like(targets))


class GBCE(nn.Module):
    """Generalised binary cross-entropy of gSASRec (Petrov & Macdonald, RecSys 2023).

    The positive probability is raised to the power β, which undoes the overconfidence that
    sampling negatives causes; `calibration` t runs from 0 (plain BCE) to 1 (fully calibrated).
    The k negatives are drawn uniformly for each position.
    """

    def __init__(self, negatives: int, calibration: float = 0.75) -> None:
        super().__init__()
        if not 0 <= calibration <= 1:
            raise ValueError(f"calibration must lie in 0…1, not {calibration}")
        if negatives < 1:
            raise ValueError(f"negatives must be at least 1, not {negatives}")
        self.negatives = negatives
        self.calibration = calibration

    def forward(
        self, hidden: Tensor, items: Tensor, targets: Tensor, spared: NotNegative | None = None
    ) -> Tensor:
        n_items = len(items) - 1
        rate = self.negatives / max(n_items - 1, 1)
        t = self.calibration
        beta = rate * (t * (1 - 1 / rate) + 1 / rate)
        shape = (len(targets), self.negatives)
        sample = torch.randint(1, n_items + 1, shape, device=items.device)
        positive = (hidden * items[targets]).sum(-1)  # [P]
        negative = torch.einsum("pd,pkd->pk", hidden, items[sample])
        negative = negative.masked_fill(sample == targets[:, None], -torch.inf)
        if spared:
            touched = spared.touched[spared.run[:, None], sample]
            negative = negative.masked_fill(touched, -torch.inf)
        # −log σ(s)^β = β·softplus(−s): the power needs no numerically fragile inverse.
        return (beta * F.softplus(-positive) + F.softplus(negative).sum(-1)).mean()
