"""Probabilities that mean what they say, and a band in which the answer is "unsure"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax


class Calibration(NamedTuple):
    """What validation data says of a model's logits.

    Args:
        temperature: logits are divided by it (Guo et al., ICML 2017).
        abstain_below: a text whose most probable class has less is "unsure".
    """

    temperature: float
    abstain_below: float


def calibrate(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    accuracy: float,
    most_abstained: float,
    ceiling: float,
) -> Calibration:
    """Fit both on validation data: logits [N, C], labels [N].

    The band is the smallest in whose outside answers are right as often as `accuracy` asks, but
    never abstains on more than `most_abstained` of the texts, nor above the probability `ceiling`.
    """
    logits = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    temperature = float(np.exp(best.x))
    probabilities = softmax(logits / temperature, axis=1)
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(-sure)
    share_right = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share_right >= accuracy)
    kept = max(int(enough[-1]) + 1 if len(enough) else 0, int((1 - most_abstained) * len(order)))
    floor = 1.0 / logits.shape[1]
    bound = float(sure[order[kept - 1]]) if 0 < kept < len(order) else floor
    return Calibration(temperature, round(min(bound, ceiling), 4))


def calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> float:
    """Expected calibration error: gaps between confidence and accuracy over equal bins."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [
        abs(right[number == b].mean() - sure[number == b].mean()) * np.mean(number == b)
        for b in np.unique(number)
    ]
    return float(np.sum(gaps))
