"""The test of a rating model beside its floors: how far off, and how well it ranks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.recommender.evaluation import RankingTask
from models.recommender.interactions import DataError, Interactions
from models.recommender.ratings.data import RatingsData
from models.recommender.ratings.evaluation import errors, ranking, relevant
from models.recommender.ratings.model import RatingModel
from models.report import Metrics, Report

log = logging.getLogger(__name__)


@dataclass
class RatingAssessment:
    """Measure a rating model and its floors on held-out ratings.

    Args:
        floors: name → floor; a floor of None is left out, and None leaves out all.
        ks: list lengths of the rank metrics; none: only the errors are measured.
        relevant_from: least rating of a held-out item that a good list would show; None: any.
        batch_size: questions ranked at once.
    """

    floors: Mapping[str, RatingModel | None] | None
    ks: Sequence[int] = (10,)
    relevant_from: float | None = 4.0
    batch_size: int = 512

    def __call__(self, model: RatingModel, data: RatingsData) -> Report:
        """The fitted model, and floors fitted on the same ratings."""
        known, test = data.split.train | data.split.validation, data.split.test
        measured = self.measure(model, data.interactions, known, test)
        report = Report(model=measured, data=data.describe())
        for name, floor in (self.floors or {}).items():
            if floor is not None:
                floor.fit(data.interactions, known)
                report.floors[name] = self.measure(floor, data.interactions, known, test)
        itself = {name for name, floor in (self.floors or {}).items() if type(floor) is type(model)}
        others = [name for name in report.floors if name not in itself]
        best = min(others, key=lambda name: report.floors[name]["rmse"], default=None)
        if best is not None and report.floors[best]["rmse"] <= report.model["rmse"]:
            log.warning(
                "the model's rmse %.4f does not beat the floor %s, %.4f: it is not ready to serve",
                report.model["rmse"],
                best,
                report.floors[best]["rmse"],
            )
        return report

    def measure(
        self, model: RatingModel, data: Interactions, known: np.ndarray, test: np.ndarray
    ) -> Metrics:
        measured = errors(model, data, test)
        if not self.ks:
            return measured
        try:
            task = RankingTask.of_users(data, known, relevant(data, test, self.relevant_from))
        except DataError as error:
            log.warning("no rank metrics: %s", error)
            return measured
        return measured | ranking(model, task, self.ks, self.batch_size)
