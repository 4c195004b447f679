"""The least-squares equations of all users (or items) at once, given the other side's vectors."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


def normal_equations(
    given: sparse.csr_matrix, targets: sparse.csr_matrix, known: Tensor
) -> tuple[Tensor, Tensor]:
    """A [n, D, D] and b [n, D]: for each row, Σ z zᵀ and Σ target · z over what it rated.

    One sparse product instead of a loop over rows: memory n × D².

    Args:
        given: [n, m] 1 where a row rated; `targets` holds what is to be explained there.
        known: [m, D] double, the vectors z of the other side.
    """
    n, width = given.shape[0], known.shape[1]
    upper = torch.triu_indices(width, width)
    pairs = (known[:, upper[0]] * known[:, upper[1]]).numpy()  # the squares are symmetric
    sums = torch.from_numpy(np.asarray(given @ pairs))
    a = torch.empty(n, width, width, dtype=known.dtype)
    a[:, upper[0], upper[1]] = sums
    a[:, upper[1], upper[0]] = sums
    return a, torch.from_numpy(np.asarray(targets @ known.numpy()))


def beside_one(factors: Tensor) -> Tensor:
    """[n, D] of (bias, vector) → the regressors that the other side's (bias, vector) meets.

    Column 0, this side's own bias, is replaced by 1: that is what the other side's bias multiplies.
    """
    regressors = factors.clone()
    regressors[:, 0] = 1.0
    return regressors
