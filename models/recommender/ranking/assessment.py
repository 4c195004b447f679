"""The test of a trained ranker beside its floors, on the same rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from models.recommender.ranking.data import select
from models.recommender.ranking.examples import Examples
from models.recommender.ranking.metrics import measured
from models.recommender.ranking.ranker import Ranker
from models.recommender.ranking.shape import Shape
from models.report import Metrics, Report

log = logging.getLogger(__name__)


class Floor(Protocol):
    """A cheap model that a deep one must beat."""

    def fit(self, shape: Shape, train: Examples, validation: Examples) -> None: ...

    def probabilities(self, examples: Examples) -> np.ndarray: ...


@dataclass
class RankingAssessment:
    """Measure a model and its floors on the test rows.

    Args:
        floors: name → floor; a floor of None is left out, and None leaves out all.
        floor_rows: floors learn from at most so many training rows, evenly spaced; null: from all.
    """

    floors: Mapping[str, Floor | None] | None
    floor_rows: int | None = None

    def __call__(self, model: nn.Module, data: Any) -> Report:
        assert isinstance(model, Ranker), f"a {type(model).__name__} is no ranker"
        report = Report(model={}, data=data.describe())
        for name, floor in (self.floors or {}).items():
            if floor is not None:
                report.floors[name] = self._floor(name, floor, data)
        found = model.probabilities(data.test).numpy()
        report.model = measured(data.test.label.numpy(), found)
        self._compare(report)
        return report

    def _floor(self, name: str, floor: Floor, data: Any) -> Metrics:
        started = time.perf_counter()
        floor.fit(data.shape, select(data.train, self.floor_rows), data.validation)
        metrics = measured(data.test.label.numpy(), floor.probabilities(data.test))
        seconds = time.perf_counter() - started
        log.info("floor %s: auroc %.4f (%.1f s)", name, metrics["auroc"], seconds)
        return metrics

    @staticmethod
    def _compare(report: Report) -> None:
        """Say it aloud where a floor is at least as good: the table alone is easily skimmed."""
        best = max(report.floors, key=lambda name: report.floors[name]["auroc"], default=None)
        if best is not None and report.floors[best]["auroc"] >= report.model["auroc"]:
            log.warning(
                "the model's auroc %.4f does not beat the floor %s, %.4f: it is not ready to serve",
                report.model["auroc"],
                best,
                report.floors[best]["auroc"],
            )
