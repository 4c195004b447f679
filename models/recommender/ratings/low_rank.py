"""A product of two wide matrices as one of two narrow ones."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import LinearOperator, svds


def low_rank(left: np.ndarray, right: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """left [n, W] · right [m, W]ᵀ ≈ the returned [n, rank] · [m, rank]ᵀ, the best of that rank.

    The product itself is never formed, unless it is no larger than the rank.
    """
    smallest = min(len(left), len(right))
    if smallest <= rank + 1:
        u, s, vt = np.linalg.svd(left @ right.T, full_matrices=False)
    else:
        product = LinearOperator(
            (len(left), len(right)),
            matvec=lambda x: left @ (right.T @ x),
            rmatvec=lambda x: right @ (left.T @ x),
            matmat=lambda x: left @ (right.T @ x),
            rmatmat=lambda x: right @ (left.T @ x),
            dtype=np.float64,
        )
        start = np.ones(smallest)
        u, s, vt = svds(product, k=rank, v0=start)
    root = np.sqrt(s)
    return u * root, vt.T * root
