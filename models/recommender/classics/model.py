"""What every classic is: fitted in one step, then a module that scores histories."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.fitted import Fitted
from models.recommender.card import Description
from models.recommender.evaluation import RankingTask
from models.recommender.interactions import Interactions


class Classic(Fitted):
    """A recommender without gradients, as a module whose buffers hold what was fitted.

    `what` says for the model card what the model is, `limits` what it cannot do.
    """

    what = "A recommender"
    tunable = False
    limits = "Items that were not in training cannot be recommended"

    @property
    def description(self) -> Description:
        """For the model card."""
        return Description(f"{self.what} over a user's item history", self.limits)

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        """Learn from the interactions marked in `train` [N] (bool).

        Raises:
            DataError: data that cannot be learnt from; the text says why.
        """
        raise NotImplementedError

    def tune(self, task: RankingTask, max_length: int) -> None:
        """Choose what validation decides, after `fit`, where `tunable`."""

    def score(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → scores of all items [B, V + 1]."""
        raise NotImplementedError
