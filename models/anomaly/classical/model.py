"""What every classical model is: fitted in one step on prepared events, then asked as a graph."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared

Matrix = NDArray[np.float32]


class ClassicalModel(nn.Module):
    """A scikit-learn estimator's decision as tensors, so that it is one graph with all the rest.

    `learn` leaves what was fitted in buffers; `assess` reads nothing else.
    """

    supervised = False

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        """Fit.

        Args:
            prepared: N events, none known to be anomalous; for a supervised model, labelled
                events of both kinds.
            label: [N] as in `models.anomaly.telemetry`.

        Raises:
            TelemetryError: data that cannot be learnt from; the text says why.
        """
        raise NotImplementedError

    def assess(self, prepared: Prepared) -> Assessment:
        raise NotImplementedError


def inputs(prepared: Prepared) -> Tensor:
    """[B, D]: the F fields, then what is read but not judged."""
    return torch.cat([prepared.x, prepared.context], dim=1)


def matrix(prepared: Prepared) -> Matrix:
    """The same for scikit-learn."""
    content: Matrix = inputs(prepared).detach().cpu().numpy()
    return content


def some(rows: Matrix, at_most: int, seed: int) -> Matrix:
    """A random sample without replacement, in order; all rows where there are no more."""
    if len(rows) <= at_most:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), at_most, replace=False)
    return rows[np.sort(chosen)]
