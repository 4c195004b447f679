"""What every rating model is: fitted in one step, then a module from pairs to stars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.fitted import Fitted
from models.recommender.interactions import DataError, Interactions


class RatingModel(Fitted):
    """A predictor of ratings, whose buffers hold what was fitted.

    Args:
        scale: lowest and highest rating; answers are cut to it.
    """

    what = "A rating predictor"
    tunable = False

    def __init__(self, scale: Sequence[float] | None) -> None:
        super().__init__()
        if scale is None or len(scale) != 2 or not scale[0] < scale[1]:
            raise DataError(
                "a rating scale is its lowest and highest rating, such as data.rating_scale=[1,5], "
                f"not {scale}"
            )
        self.low, self.high = (float(x) for x in scale)

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        """Learn from the interactions marked in `train` [N] (bool).

        Raises:
            DataError: data that cannot be learnt from; the text says why.
        """
        raise NotImplementedError

    def tune(self, data: Interactions, validation: np.ndarray) -> None:
        """Choose what held-out ratings decide, after `fit`, where `tunable`."""

    def stars(self, user: Tensor, item: Tensor) -> Tensor:
        """Graph ids [B], [B] → ratings [B], not yet cut to the scale."""
        raise NotImplementedError

    def catalog(self, user: Tensor) -> Tensor:
        """Users [B] → ratings of all items [B, V + 1], not cut, since cutting makes ties."""
        raise NotImplementedError

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.stars(user, item).clamp(self.low, self.high)

    def predict(self, data: Interactions, rows: np.ndarray) -> np.ndarray:
        """Ratings of the interactions marked in `rows`, in their order."""
        users, items = torch.from_numpy(data.user[rows] + 1), torch.from_numpy(data.item[rows])
        with torch.inference_mode():
            parts = [self(u, i) for u, i in zip(users.split(8192), items.split(8192), strict=True)]
        predicted: np.ndarray = torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)
        return predicted


Judge = Callable[[RatingModel, Interactions, np.ndarray], dict[str, float]]


def learn(
    model: RatingModel,
    data: Interactions,
    train: np.ndarray,
    validation: np.ndarray,
    judge: Judge | None = None,
) -> dict[str, float]:
    """Fit on `train`, tune on `validation`, and learn once more from both.

    The first fit is left out where nothing is to be tuned or judged by it.

    Returns:
        What `judge` says of the tuned model on validation, by `val_` names.
    """
    judged: dict[str, float] = {}
    if validation.any() and (judge is not None or model.tunable):
        model.fit(data, train)
        model.tune(data, validation)
        if judge is not None:
            judged = {f"val_{k}": v for k, v in judge(model, data, validation).items()}
    model.fit(data, train | validation)
    return judged
