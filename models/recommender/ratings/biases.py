"""Floors of rating prediction: one mean for all, and how generous users and how liked items are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.recommender.interactions import Interactions
from models.recommender.ratings.factors import FactorModel
from models.recommender.ratings.table import Ratings


def biases(
    ratings: Ratings, user_shrinkage: float, item_shrinkage: float, sweeps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Biases of users [U] and items [V] around the mean, each given the other, in turns.

    They are shrunk towards 0 as if each had so many more ratings that are just the mean
    (Koren, "Factor in the Neighbors", TKDD 2010).
    """
    rest = ratings.stars.astype(np.float64) - ratings.mean
    users = np.bincount(ratings.user, minlength=ratings.n_users) + user_shrinkage
    items = np.bincount(ratings.item, minlength=ratings.n_items) + item_shrinkage
    user_bias = np.zeros(ratings.n_users)
    item_bias = np.zeros(ratings.n_items)
    for _ in range(sweeps):
        left = rest - user_bias[ratings.user]
        item_bias = np.bincount(ratings.item, left, minlength=ratings.n_items) / items
        left = rest - item_bias[ratings.item]
        user_bias = np.bincount(ratings.user, left, minlength=ratings.n_users) / users
    return user_bias, item_bias


class MeanRating(FactorModel):
    """The mean of all ratings, for every pair."""

    what = "The mean rating"

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        ratings = Ratings.of(data, train)
        nothing = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
        self.keep(ratings.mean, *nothing, *(part[:, None] for part in nothing))


class Biases(FactorModel):
    """The mean, what the user usually adds to it and what the item usually gets.

    Args:
        user_shrinkage, item_shrinkage: imagined mean ratings of each.
        sweeps: turns of users and items.
    """

    what = "Biases of users and items"

    def __init__(
        self,
        scale: Sequence[float] | None,
        user_shrinkage: float = 5.0,
        item_shrinkage: float = 5.0,
        sweeps: int = 10,
    ) -> None:
        super().__init__(scale)
        self.user_shrinkage = user_shrinkage
        self.item_shrinkage = item_shrinkage
        self.sweeps = sweeps

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        ratings = Ratings.of(data, train)
        found = biases(ratings, self.user_shrinkage, self.item_shrinkage, self.sweeps)
        self.keep(ratings.mean, *found, *(np.zeros((len(part), 1)) for part in found))
