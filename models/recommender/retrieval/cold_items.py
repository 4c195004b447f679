"""A split by items: some are never seen in training, and exactly those are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.recommender.interactions import DataError, Interactions
from models.recommender.splits import Split


@dataclass(frozen=True)
class ColdItems:
    """Random shares of the items validate and test; all interactions of the others train.

    What is asked is then: after what this user touched of the training's items, which new item
    came next? Another share validates, so that a model is chosen by what it makes of new items.

    Args:
        share: of the items, whose interactions test.
        validation_share: of the items, whose interactions validate.
    """

    share: float = 0.1
    validation_share: float = 0.05
    seed: int = 0

    def split(self, data: Interactions) -> Split:
        """Raises `DataError` if the shares leave no item to one of the three."""
        group = self.groups(data.n_items)[data.item]
        return Split(group == 0, group == 1, group == 2)

    def groups(self, n_items: int) -> np.ndarray:
        """[V + 1] by graph id: 0 trains, 1 validates, 2 tests; padding trains."""
        test, validation = round(self.share * n_items), round(self.validation_share * n_items)
        if min(test, validation) < 1 or test + validation >= n_items:
            raise DataError(
                f"share={self.share} and validation_share={self.validation_share} of {n_items} "
                f"items are {test} and {validation}; each must be at least 1 and leave items to "
                "train on"
            )
        order = np.random.default_rng(self.seed).permutation(n_items) + 1
        group = np.zeros(n_items + 1, dtype=np.int64)
        group[order[:test]] = 2
        group[order[test : test + validation]] = 1
        return group
