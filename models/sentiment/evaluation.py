"""How good probabilities are: one function for the model, its floors and its peers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from models.report import Metrics
from models.sentiment.calibration import calibration_error


def text_metrics(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Metrics:
    """Accuracy, macro precision, recall and F1, AUROC (one class against the rest), log-loss, ECE.

    Args:
        probabilities: [N, C].
        labels: [N]; a class that the test lacks is left out of AUROC.
    """
    classes = probabilities.shape[1]
    guess = probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, guess, labels=range(classes), average="macro", zero_division=0.0
    )
    present = [c for c in range(classes) if 0 < np.mean(labels == c) < 1]
    areas = [roc_auc_score(labels == c, probabilities[:, c]) for c in present]
    return {
        "accuracy": float(accuracy_score(labels, guess)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auroc": float(np.mean(areas)) if areas else float("nan"),
        "log_loss": float(log_loss(labels, probabilities, labels=range(classes))),
        "calibration_error": calibration_error(probabilities, labels),
    }
