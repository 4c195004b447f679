"""Interactions as a sparse matrix: users down, graph ids across."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from models.recommender.interactions import Interactions


def user_items(data: Interactions, train: np.ndarray) -> sparse.csr_matrix:
    """[U, V] float32: 1 where a user touched item column + 1, however often.

    Rows come sorted from the interactions, so that it is built without a sort by user.
    """
    users = data.user[train]
    start = np.zeros(data.n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=data.n_users), out=start[1:])
    items = (data.item[train] - 1).astype(np.int32)
    ones = np.ones(len(items), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, items, start), shape=(data.n_users, data.n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
