"""Metrics of probabilities: do they order the rows, and are they true?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, roc_auc_score

from models.report import Metrics

Array = npt.NDArray[np.floating]

BINS = 20


def measured(label: Array, probability: Array) -> Metrics:
    """All metrics of N rows: label 0 or 1, probability of 1.

    `auroc` is NaN where only one class is there. `calibration` is the sum of the probabilities by
    the number of positives: 1 is right, 1.1 promises a tenth too much.
    """
    positives = float(label.sum())
    both = 0 < positives < len(label)
    clipped = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return {
        "auroc": float(roc_auc_score(label, probability)) if both else float("nan"),
        "log_loss": float(log_loss(label, clipped, labels=[0, 1])),
        "calibration": float(probability.sum() / positives) if positives else float("nan"),
        "ece": expected_calibration_error(label, probability),
    }


def expected_calibration_error(label: Array, probability: Array, bins: int = BINS) -> float:
    """Mean |share of positives − mean probability| over bins of equally many rows.

    Naeini et al., AAAI 2015. Bins of equal width would leave all rows of a rare event in the first.
    """
    order = np.argsort(probability, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    gaps = [abs(float(label[p].mean() - probability[p].mean())) * len(p) for p in parts]
    return sum(gaps) / len(label)
