"""The test of a text classifier beside its floors, on one split, and a page about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.report import Report
from models.sentiment.answers import pooled, softmax
from models.sentiment.calibration import Calibration, calibrate
from models.sentiment.datamodule import TextsDataModule
from models.sentiment.evaluation import text_metrics
from models.sentiment.page import write_page

log = logging.getLogger(__name__)


class Floor(Protocol):
    """A cheap model that a deep one must beat."""

    def probabilities(
        self, train: list[str], labels: NDArray[np.int64], test: list[str], classes: int
    ) -> NDArray[np.float64]: ...


def module_logits(
    model: nn.Module, data: TextsDataModule, rows: NDArray[np.integer], batch_size: int = 128
) -> NDArray[np.float64]:
    """[N, C] of a module, all pieces of a text pooled as in serving."""
    readings = data.readings_of(rows)
    pieces = [torch.tensor(p or [0]) for r in readings for p in r.pieces]
    sizes = [s for r in readings for s in r.sizes]
    owner = [i for i, r in enumerate(readings) for _ in r.pieces]
    order = np.argsort([len(p) for p in pieces], kind="stable")
    answer = np.zeros((len(pieces), len(data.texts.classes)))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids: Tensor = nn.utils.rnn.pad_sequence([pieces[i] for i in chosen], batch_first=True)
            answer[chosen] = model(ids.to(device)).float().cpu().numpy()
    model.train(was_training)
    return pooled(answer, owner, sizes, len(readings))


@dataclass
class SentimentAssessment:
    """Calibrate on validation, measure on test.

    Args:
        floors: name → floor; null leaves one out.
        sure_accuracy: how often answers outside the band should be right.
        most_abstained: largest share of texts that the band may hold.
        ceiling: highest probability below which a text can be "unsure".
        page: HTML file with the confusion matrix, the calibration and the worst errors.
        worst: how many errors it shows.
    """

    floors: Mapping[str, Floor | None] | None
    sure_accuracy: float
    most_abstained: float
    ceiling: float
    page: str
    worst: int

    def __call__(self, model: nn.Module, data: TextsDataModule) -> Report:
        """Metrics of the calibrated model; `report.conditions` gets the calibration."""
        report = Report(model={}, data=data.describe())
        train, test = data.split.train, data.split.test
        labels = data.texts.label[test]
        read = [data.cleaner(t) for t in data.texts.text]
        for name, floor in (self.floors or {}).items():
            if floor is not None:
                answer = floor.probabilities(
                    [read[i] for i in train],
                    data.texts.label[train],
                    [read[i] for i in test],
                    len(data.texts.classes),
                )
                report.floors[name] = text_metrics(answer, labels)
        calibration = self.calibration(model, data)
        probabilities = softmax(module_logits(model, data, test) / calibration.temperature)
        report.model = text_metrics(probabilities, labels)
        sure = probabilities.max(axis=1) >= calibration.abstain_below
        report.model["abstained"] = float(1 - sure.mean())
        right = probabilities.argmax(axis=1) == labels
        report.model["accuracy_when_sure"] = float(right[sure].mean()) if sure.any() else 0.0
        report.data |= {
            "temperature": round(calibration.temperature, 4),
            "abstain_below": calibration.abstain_below,
        }
        texts = data.texts.take(test)
        write_page(Path(self.page), texts, probabilities, report, self.worst)
        self._compare(report)
        return report

    def calibration(self, model: nn.Module, data: TextsDataModule) -> Calibration:
        """Temperature and band from the validation split."""
        rows = data.split.validation
        return calibrate(
            module_logits(model, data, rows),
            data.texts.label[rows],
            self.sure_accuracy,
            self.most_abstained,
            self.ceiling,
        )

    @staticmethod
    def _compare(report: Report) -> None:
        """Say it aloud where a floor is at least as good: the table alone is easily skimmed."""
        best = max(report.floors, key=lambda n: report.floors[n]["accuracy"], default=None)
        if best is not None and report.floors[best]["accuracy"] >= report.model["accuracy"]:
            log.warning(
                "the model's accuracy %.4f does not beat the floor %s, %.4f: it is not ready",
                report.model["accuracy"], best, report.floors[best]["accuracy"],
            )  # fmt: skip
