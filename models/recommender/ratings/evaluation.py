"""How far predicted ratings are off, and how well they rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.recommender.evaluation import RankingTask, evaluate
from models.recommender.interactions import DataError, Interactions
from models.recommender.ratings.model import RatingModel


def errors(model: RatingModel, data: Interactions, rows: np.ndarray) -> dict[str, float]:
    """`rmse` and `mae` over the interactions marked in `rows`.

    Raises:
        DataError: there is none.
    """
    if data.rating is None or not rows.any():
        raise DataError("no held-out rating to compare with; use another split")
    off = model.predict(data, rows).astype(np.float64) - data.rating[rows]
    return {"rmse": float(np.sqrt(np.mean(off**2))), "mae": float(np.abs(off).mean())}


def ranking(
    model: RatingModel, task: RankingTask, ks: Sequence[int], batch_size: int
) -> dict[str, float]:
    """Full-ranking metrics of the expected ratings, seen items removed.

    Each user's catalog is computed once: a user asks for every held-out item.
    """
    users, place = torch.unique(task.users, return_inverse=True)
    with torch.inference_mode():
        scores = torch.cat([model.catalog(part + 1) for part in users.split(256)])

    def scorer(history: Tensor, rows: Tensor) -> Tensor:
        return scores[place[rows]]

    return evaluate(
        scorer, task, max_length=1, ks=ks, batch_size=batch_size, with_rows=True
    )  # the history is not read


def relevant(data: Interactions, rows: np.ndarray, least: float | None) -> np.ndarray:
    """Those of `rows` with `least` stars or more; all where that is None or nothing is rated."""
    if least is None or data.rating is None:
        return rows
    return rows & (data.rating >= least)
