"""Who trains, who validates, who tests: three protocols over coded interactions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.recommender.interactions import DataError, Interactions, Ints

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Three disjoint masks over N interactions; what no mask holds is not used."""

    train: Mask
    validation: Mask
    test: Mask


class Timed(Protocol):
    """Rows of any kind that have moments."""

    @property
    def timestamp(self) -> Ints: ...


@dataclass(frozen=True)
class LeaveOneOut:
    """Each user's last interaction tests, the second-last validates.

    Users with fewer than `min_interactions` train only: they would have no history to test on.

    Args:
        validation_users: how many users validate, drawn by `seed`; the second-last items of the
            others train. Published comparisons (gSASRec, SASRec+) hold out a few hundred users:
            enough to choose a checkpoint by, and the model learns from the rest's recent past.
            None: all.
    """

    min_interactions: int = 3
    validation_users: int | None = None
    seed: int = 0

    def split(self, data: Interactions) -> Split:
        starts = data.user_starts()
        ends = starts[1:][np.diff(starts) >= self.min_interactions]
        test = np.zeros(len(data), dtype=bool)
        validation = test.copy()
        test[ends - 1] = True
        if self.validation_users is not None and self.validation_users < len(ends):
            rng = np.random.default_rng(self.seed)
            ends = rng.choice(ends, self.validation_users, replace=False)
        validation[ends - 2] = True
        return Split(~(test | validation), validation, test)


@dataclass(frozen=True)
class GlobalTime:
    """Train on what came before one moment, validate up to a second, test after it.

    This is how a model lives in production: nothing of the future leaks through other users.
    Moments are shares of all interactions in time order, or ISO 8601 times.
    """

    validation_from: float | str = 0.8
    test_from: float | str = 0.9

    def split(self, data: Timed) -> Split:
        first, second = (self._moment(data, m) for m in (self.validation_from, self.test_from))
        if not first < second:
            raise DataError(
                f"validation_from={self.validation_from} must come before "
                f"test_from={self.test_from}"
            )
        train = data.timestamp < first
        test = data.timestamp >= second
        return Split(train, ~(train | test), test)

    @staticmethod
    def _moment(data: Timed, moment: float | str) -> int:
        if isinstance(moment, str):
            time = datetime.fromisoformat(moment)
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            return round(time.timestamp() * 1_000_000)
        if not 0 < moment < 1:
            raise DataError(f"a share of time must lie between 0 and 1, not {moment}")
        ordered = np.sort(data.timestamp)
        return int(ordered[int(moment * len(ordered))])


@dataclass(frozen=True)
class RandomFolds:
    """Random k-fold over interactions: fold `fold` tests, the next one validates."""

    folds: int = 5
    fold: int = 0
    seed: int = 0

    def split(self, data: Interactions) -> Split:
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"fold {self.fold} of {self.folds}: at least 3 folds, fold from 0 to folds - 1"
            )
        order = np.random.default_rng(self.seed).permutation(len(data))
        number = np.empty(len(data), dtype=np.int64)
        number[order] = np.arange(len(data)) % self.folds
        test = number == self.fold
        validation = number == (self.fold + 1) % self.folds
        return Split(~(test | validation), validation, test)
