"""What is known of users or items as numbers: attributes, and whom or what they were seen with."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.preprocessing import MultiLabelBinarizer, normalize


class AttributeSource(Protocol):
    """Anything that knows `categories` in the order of ids."""

    def read(self, ids: pl.Series) -> pl.DataFrame: ...


def side_features(
    rated: sparse.csr_matrix | None, ids: pl.Series, attributes: AttributeSource | None
) -> np.ndarray | None:
    """[n, F] dense, each group of features of length 1; None where there is none.

    Args:
        rated: [n, m] 1 where a rating is, for the set of the rated as features.
    """
    parts = [] if rated is None else [normalize(rated)]
    if attributes is not None:
        categories = attributes.read(ids)["categories"].to_list()
        coded = MultiLabelBinarizer(sparse_output=True).fit_transform(categories)
        if coded.shape[1]:
            parts.append(normalize(sparse.csr_matrix(coded, dtype=np.float64)))
    return sparse.hstack(parts).toarray() if parts else None
