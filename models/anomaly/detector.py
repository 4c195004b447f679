"""What every detector is: fit on telemetry that is mostly normal, score events, become a graph.

The graph is the detector as it is served. Its contract, the same for all of them:

| | name | shape | |
| --- | --- | --- | --- |
| in | `values` | [B, T, F] float32 | the last T events of a source, the newest last; NaN: missing |
| in | `time` | [B] int64 | of the newest event, seconds since 1970 UTC |
| out | `score` | [B] float32 | high = anomalous; see below |
| out | `contributions` | [B, F] float32 | the parts of the score, not negative; they sum to it |
| out | `expected` | [B, F] float32 | what the newest event should have been, in its own units |

Imputation, scaling, time features and calibration are inside the graph, so that a server feeds it
raw numbers. T is `window`: 1 where each event is judged by itself.

A score is a *surprise*: −log10 of the share of normal events that score as high, as measured on
normal events held out from training and continued beyond them by an exponential tail. 2 means one
in a hundred, 4 one in ten thousand, whichever detector it comes from: one threshold rule and one
scale of severity serve all of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.anomaly.telemetry import Telemetry

INPUTS = ("values", "time")
OUTPUTS = ("score", "contributions", "expected")


class Scores(NamedTuple):
    """A detector's answer for N events of F fields; see the module."""

    score: NDArray[np.float32]  # [N]
    contributions: NDArray[np.float32]  # [N, F]
    expected: NDArray[np.float32]  # [N, F]


class Detector(Protocol):
    """Two methods, and a door to serving.

    `window` is the T of the graph. `fit` uses labels where the detector can: an unsupervised one
    leaves rows labelled anomalous out and takes unknown ones as normal. It raises `TelemetryError`
    for data that it cannot learn from, and names why.
    """

    window: int

    def fit(self, telemetry: Telemetry) -> None: ...

    def score(self, telemetry: Telemetry) -> Scores: ...

    def graph(self) -> nn.Module:
        """`forward(values, time) -> (score, contributions, expected)`, exportable to ONNX."""
        ...
