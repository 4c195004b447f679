"""The test of a trained recommender beside its floors, on one split, with one evaluator."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, cast

import numpy as np
from torch import Tensor, nn

from models.recommender.datamodule import InteractionsDataModule
from models.recommender.evaluation import Lens, Scorer, evaluate
from models.recommender.interactions import Interactions
from models.report import Metrics, Report

log = logging.getLogger(__name__)


class Floor(Protocol):
    """A cheap model that a deep one must beat."""

    def fit(self, data: Interactions, train: np.ndarray) -> None: ...

    def score(self, history: Tensor) -> Tensor: ...


@dataclass
class RecommenderAssessment:
    """Measure a model and its floors on the test task.

    Args:
        floors: name → floor; a floor of None is left out, and None leaves out all.
        ks: list lengths of the metrics.
        batch_size: histories ranked at once.
        beyond: name → lens on the lists, the model's and every floor's; None is left out.
    """

    floors: Mapping[str, Floor | None] | None
    ks: Sequence[int]
    batch_size: int
    beyond: Mapping[str, Lens | None] | None = None

    def __call__(self, model: nn.Module, data: InteractionsDataModule) -> Report:
        report = Report(model={}, data=data.describe())
        lenses = [lens for lens in (self.beyond or {}).values() if lens is not None]
        for lens in lenses:
            lens.fit(data.interactions, data.train)
        for name, floor in (self.floors or {}).items():
            if floor is not None:
                report.floors[name] = self._floor(name, floor, data, lenses)
        model.eval()
        held = next(chain(model.parameters(), model.buffers()), None)
        task = data.test_task if held is None else data.test_task.to(held.device)
        report.model = evaluate(
            cast(Scorer, model.score),
            task,
            max_length=data.max_length,
            ks=self.ks,
            batch_size=self.batch_size,
            lenses=lenses,
            with_users=getattr(model, "knows_users", False),
        )
        self._compare(report, model)
        return report

    def _compare(self, report: Report, model: nn.Module) -> None:
        """Say it aloud where a floor is at least as good: the table alone is easily skimmed.

        A model that is a floor itself, such as EASE, is no better than it, and need not be.
        """
        metric = self._decisive
        floors = self.floors or {}
        itself = {name for name, floor in floors.items() if isinstance(model, type(floor))}
        others = [name for name in report.floors if name not in itself]
        best = max(others, key=lambda name: report.floors[name][metric], default=None)
        if best is not None and report.floors[best][metric] >= report.model[metric]:
            log.warning(
                "the model's %s %.4f does not beat the floor %s, %.4f: it is not ready to serve",
                metric,
                report.model[metric],
                best,
                report.floors[best][metric],
            )

    @property
    def _decisive(self) -> str:
        """The metric that the log compares by: the one that checkpoints are chosen by, if asked."""
        return f"ndcg@{10 if 10 in self.ks else max(self.ks)}"

    def _floor(
        self, name: str, floor: Floor, data: InteractionsDataModule, lenses: Sequence[Lens]
    ) -> Metrics:
        started = time.perf_counter()
        floor.fit(data.interactions, data.train)
        metrics = evaluate(
            floor.score,
            data.test_task,
            max_length=data.max_length,
            ks=self.ks,
            batch_size=self.batch_size,
            lenses=lenses,
        )
        log.info(
            "floor %s: %s %.4f (%.1f s)",
            name,
            self._decisive,
            metrics[self._decisive],
            time.perf_counter() - started,
        )
        return metrics
