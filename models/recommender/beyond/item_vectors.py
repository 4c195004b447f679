"""Unit vectors whose products say how alike two items are, for measures that compare items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from models.recommender.interactions import DataError, Interactions


class ItemVectors(Protocol):
    """Anything that places items in a space."""

    def vectors(self, data: Interactions, train: np.ndarray) -> Tensor:
        """[V + 1, W], rows of length 1 or 0; row 0, padding, is 0."""
        ...


class CoOccurrence:
    """Items are alike as far as the same users touched them: the cosine of their sets of users.

    The sets, one coordinate a user, are projected at random onto `width` directions, which keeps
    products to within about 1/√width each (Johnson & Lindenstrauss, 1984) and right on average, so
    that a mean over many lists is exact enough; the same seed gives the same vectors.
    """

    def __init__(self, width: int = 128, seed: int = 0) -> None:
        self.width = width
        self.seed = seed

    def vectors(self, data: Interactions, train: np.ndarray) -> Tensor:
        ones = np.ones(int(train.sum()), dtype=np.float32)
        index = (data.item[train], data.user[train])
        touched = sparse.coo_matrix((ones, index), shape=(data.n_items + 1, data.n_users)).tocsr()
        touched.data[:] = 1.0  # several touches by one user count once
        norms = np.sqrt(np.maximum(np.diff(touched.indptr), 1)).astype(np.float32)
        rng = np.random.default_rng(self.seed)
        directions = rng.choice(
            np.array([-1, 1], dtype=np.float32), size=(data.n_users, self.width)
        )
        projected = (touched @ directions) / (norms[:, None] * np.sqrt(self.width))
        return torch.from_numpy(projected.astype(np.float32))


class Attributes:
    """Items are alike as far as they share attributes: the cosine of their sets of attributes.

    Args:
        path: JSON, item id → list of attributes of any kind. An item that it lacks is like none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def vectors(self, data: Interactions, train: np.ndarray) -> Tensor:
        """[V + 1, W], W the number of distinct attributes of known items, 4·V·W bytes.

        Raises:
            DataError: there is no such file, it is no such JSON, or it knows none of the items.
        """
        try:
            listed = json.loads(self.path.read_text("utf-8"))
            named = [list(map(str, listed.get(i, ()))) for i in data.item_ids.to_list()]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise DataError(
                f"{self.path}: {error}; a JSON object of item id → list of attributes is needed"
            ) from error
        places: dict[str, int] = {}
        rows, columns = [], []
        for item, names in enumerate(named, start=1):
            for name in dict.fromkeys(names):
                rows.append(item)
                columns.append(places.setdefault(name, len(places)))
        if not places:
            raise DataError(f"{self.path}: none of the {data.n_items} items is in it")
        content = torch.zeros(data.n_items + 1, len(places))
        content[rows, columns] = 1.0
        return F.normalize(content, dim=1)
