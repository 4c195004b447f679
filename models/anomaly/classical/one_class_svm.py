"""One-class SVM: an event far from the support vectors around the normal ones is anomalous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.anomaly.classical.distances import squared
from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.model import ClassicalModel, inputs, matrix, some
from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared


class OneClass(ClassicalModel):
    """Raw score: −log of the kernel's weighted sum over the support vectors.

    The decision function's own order, but it goes on rising where the Gaussian kernel has vanished
    and the decision function is the same for every event that far out.

    Schölkopf et al., "Estimating the Support of a High-Dimensional Distribution", 2001.

    Args:
        estimator: makes scikit-learn's `OneClassSVM`, given a Gaussian kernel and its gamma.
        width: of the kernel, in typical distances between normal events (their root mean square).
        rows: events to learn from; time grows with their square, so a random sample of more.
        likeness: gives what is expected.
        seed: which events are learnt from.
    """

    vectors: Tensor
    weights: Tensor  # their logarithm
    gamma: Tensor

    def __init__(
        self,
        estimator: Callable[..., Any],
        width: float,
        rows: int,
        likeness: Likeness,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.width = width
        self.rows = rows
        self.likeness = likeness
        self.seed = seed
        for name in ("vectors", "weights", "gamma"):
            self.register_buffer(name, torch.zeros(0))

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        x = matrix(prepared)
        rows = some(x, self.rows, self.seed)
        # Two events lie 2 × the total variance apart, squared, on average.
        apart = 2.0 * float(rows.var(axis=0, dtype=np.float64).sum()) or 1.0
        gamma = 1.0 / (2.0 * self.width**2 * apart)
        fitted = self.estimator(kernel="rbf", gamma=gamma).fit(rows)
        self.vectors = torch.from_numpy(np.asarray(fitted.support_vectors_, np.float32))
        self.weights = torch.from_numpy(np.log(fitted.dual_coef_[0])).float()
        self.gamma = torch.tensor(gamma, dtype=torch.float32)
        self.likeness.learn(x)

    def assess(self, prepared: Prepared) -> Assessment:
        x = inputs(prepared)
        logits = self.weights - self.gamma * squared(x, self.vectors).clamp(min=0.0)
        share = torch.softmax(logits, dim=1)  # [B, V] of each vector in the sum
        fields = prepared.x.shape[1]
        vectors = self.vectors[:, :fields]
        mean, square = share @ vectors, share @ vectors.square()
        parts = (prepared.x - mean).square() + (square - mean.square()).clamp(min=0.0)
        return Assessment(-torch.logsumexp(logits, dim=1), parts, self.likeness(prepared))
