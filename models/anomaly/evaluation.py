"""How good a detector's scores are, beside floors that are fitted on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from models.anomaly.telemetry import ANOMALOUS, UNKNOWN, Telemetry

Floats = NDArray[np.floating[Any]]


class Floor(Protocol):
    """Standardised rows in, scores out: high = anomalous."""

    def __call__(self, train: Floats, test: Floats) -> Floats: ...


def nearest(train: Floats, test: Floats, neighbours: int = 5) -> Floats:
    """Distance to the 5th nearest training row (Ramaswamy et al., SIGMOD 2000)."""
    index = NearestNeighbors(n_neighbors=min(neighbours, len(train))).fit(train)
    distances: Floats = index.kneighbors(test)[0]
    return distances[:, -1]


def isolation_forest(train: Floats, test: Floats, seed: int = 0) -> Floats:
    """scikit-learn's defaults (Liu et al., ICDM 2008)."""
    forest = IsolationForest(random_state=seed).fit(train)
    scores: Floats = -forest.score_samples(test)
    return scores


def ranking(label: NDArray[np.integer], score: Floats) -> dict[str, float]:
    """`auroc` and `average_precision`; nothing where rows of one kind only are labelled."""
    known = label != UNKNOWN
    truth = label[known] == ANOMALOUS
    if truth.all() or not truth.any():
        return {}
    return {
        "auroc": float(roc_auc_score(truth, score[known])),
        "average_precision": float(average_precision_score(truth, score[known])),
    }


def alarms(label: NDArray[np.integer], score: Floats, threshold: float) -> dict[str, float]:
    """What a static threshold would do: `alarm_rate`, and with labels precision, recall and F1."""
    alarm = score > threshold
    found = {"alarm_rate": float(alarm.mean())}
    known = label != UNKNOWN
    truth, alarm = label[known] == ANOMALOUS, alarm[known]
    if truth.any() and not truth.all():
        hits = float((truth & alarm).sum())
        found["precision"] = hits / max(float(alarm.sum()), 1.0)
        found["recall"] = hits / float(truth.sum())
        found["f1"] = 2 * hits / float(alarm.sum() + truth.sum())
    return found


def floors(
    train: Telemetry, test: Telemetry, chosen: Mapping[str, Callable[..., Floats] | None], rows: int
) -> dict[str, dict[str, float]]:
    """Each floor's ranking on `test`, fitted on `train` with medians for missing values.

    Args:
        rows: at most so many training rows, evenly spaced.
    """
    normal = train.values[train.label != ANOMALOUS].astype(np.float64)
    normal = normal[np.unique(np.linspace(0, len(normal) - 1, rows).astype(int))]
    median = np.nan_to_num(np.nanmedian(normal, axis=0))
    normal = np.where(np.isnan(normal), median, normal)
    mean, deviation = normal.mean(0), normal.std(0)
    deviation[deviation <= 1e-7 * np.abs(mean)] = 1.0
    asked = np.where(np.isnan(test.values), median, test.values)
    scaled = [(part - mean) / deviation for part in (normal, asked)]
    return {name: ranking(test.label, floor(*scaled)) for name, floor in chosen.items() if floor}
