"""In-batch sampled softmax with mixed negatives and the log-Q correction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mixed_inclusion(in_batch: Tensor, n_uniform: int, n_items: int) -> Tensor:
    """[C] the probability that the batch or one of the uniform draws holds an item.

    Mixed negatives are those of Yang et al., "Mixed negative sampling for learning two-tower
    neural networks in recommendations" (WWW companion 2020): a batch alone never shows what nobody
    chooses.

    Args:
        in_batch: [C] the probability that the batch holds it.
        n_uniform: draws from `n_items` items, with replacement.
    """
    uniform = 1 - (1 - 1 / max(n_items, 1)) ** n_uniform
    return 1 - (1 - in_batch) * (1 - uniform)


def sampled_softmax(
    states: Tensor,
    candidates: Tensor,
    positive: Tensor,
    inclusion: Tensor,
    spared: Tensor | None = None,
    correct_positive: bool = False,
) -> Tensor:
    """Mean cross-entropy of each position's own item among the candidates.

    A candidate's logit is lowered by the logarithm of its probability to be among them, so that
    the sum over a batch estimates the sum over the catalog without bias (Horvitz & Thompson, 1952;
    Yi et al., RecSys 2019). A position's own item is there with certainty, so its logit stays as
    it is (Khrylchenko et al., "Correcting the LogQ correction", RecSys 2025).

    Args:
        states: [P, D], already divided by the temperature.
        candidates: [C, D] vectors of distinct items.
        positive: [P] each position's own item among the candidates.
        inclusion: [C] probability of each candidate to be one.
        spared: [P, C] bool, no negatives of a position; its own item counts in any case.
        correct_positive: true lowers its logit too, as Yi et al. do.
    """
    logits = states @ candidates.T  # [P, C]
    own = logits.gather(1, positive[:, None])
    corrected = logits - inclusion.clamp(min=1e-12).log()
    if spared is not None:
        corrected = corrected.masked_fill(spared, -torch.inf)
    if correct_positive:
        own = own - inclusion.clamp(min=1e-12).log()[positive][:, None]
    return F.cross_entropy(corrected.scatter(1, positive[:, None], own), positive)
