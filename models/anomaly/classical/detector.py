"""A classical detector of single events: prepare, fit once, calibrate, become a graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from models.anomaly.classical.model import ClassicalModel
from models.anomaly.detector import Scores
from models.anomaly.preparation import Preparation, Prepared
from models.anomaly.scoring import score_with
from models.anomaly.surprise import Surprise
from models.anomaly.tabular import EventGraph
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError


class ClassicalDetector:
    """Judge each event by itself, without training by gradients.

    Args:
        preparation: how fields are scaled.
        model: what is fitted; a supervised one needs labels.
        surprise: makes the calibration.
        held_out: share of the normal rows that calibrates.
        least_rows: fewer normal rows are refused.
        seed: of held-out rows.
    """

    window = 1

    def __init__(
        self,
        preparation: Callable[[], Preparation],
        model: ClassicalModel,
        surprise: Callable[[], Surprise] = Surprise,
        held_out: float = 0.15,
        least_rows: int = 20,
        seed: int = 0,
    ) -> None:
        self.preparation = preparation()
        self.surprise = surprise()
        self.model = model
        self.held_out = held_out
        self.least_rows = least_rows
        self.seed = seed
        self.fitted = False

    def fit(self, telemetry: Telemetry) -> None:
        """Learn from rows that are not labelled anomalous; a supervised model from labelled ones.

        It is fitted without the rows that calibrate, and then once more with them.

        Raises:
            TelemetryError: too few normal rows, a field without values, no labels where they are
                needed.
        """
        if self.model.supervised:
            self._check_labels(telemetry)
            normal = telemetry.label == NORMAL
            learnable = telemetry.label != UNKNOWN
        else:
            normal = learnable = telemetry.label != ANOMALOUS
        rows = np.flatnonzero(normal)
        if len(rows) < self.least_rows:
            raise TelemetryError(
                f"{len(rows)} normal rows; at least {self.least_rows} are needed to fit and "
                "calibrate"
            )
        self.preparation.fit(telemetry.take(normal))
        shuffled = np.random.default_rng(self.seed).permutation(rows)
        held = np.sort(shuffled[: max(1, int(len(rows) * self.held_out))])
        learnt = learnable.copy()
        learnt[held] = False
        with torch.inference_mode():
            self._learn(telemetry.take(learnt))
            scores = [
                self.model.assess(self._prepare(telemetry.take(part))).raw.numpy()
                for part in np.array_split(held, 1 + len(held) // 2048)
            ]
            self.surprise.fit(np.concatenate(scores))
            self._learn(telemetry.take(learnable))
        self.fitted = True

    def score(self, telemetry: Telemetry) -> Scores:
        """Raises `TelemetryError` before `fit`, and for other fields than those learnt."""
        graph = self.graph()
        if len(telemetry.fields) != self.preparation.width:
            raise TelemetryError(
                f"{len(telemetry.fields)} fields {list(telemetry.fields)[:10]}, but the detector "
                f"learnt {self.preparation.width}"
            )
        return score_with(graph, telemetry, self.window)

    def graph(self) -> nn.Module:
        if not self.fitted:
            raise TelemetryError("the detector has not been fitted")
        return EventGraph(self.preparation, self.model, self.surprise).eval()

    def _check_labels(self, telemetry: Telemetry) -> None:
        for name, value in {"normal": NORMAL, "anomalous": ANOMALOUS}.items():
            if not (telemetry.label == value).any():
                raise TelemetryError(
                    f"none of {len(telemetry)} rows is labelled {name}: a supervised detector "
                    f"({type(self.model).__name__}) needs both kinds; name the labels "
                    "(data.reader.label, or data.reader.incidents, and data.split.labels=true), or "
                    "take a detector that needs none"
                )

    def _learn(self, telemetry: Telemetry) -> None:
        self.model.learn(self._prepare(telemetry), telemetry.label)

    def _prepare(self, telemetry: Telemetry) -> Prepared:
        prepared: Prepared = self.preparation(
            torch.from_numpy(telemetry.values), torch.from_numpy(telemetry.time)
        )
        return prepared
