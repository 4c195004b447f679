"""Telemetry through a detector's graph, a batch at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.anomaly.detector import Scores
from models.anomaly.telemetry import Telemetry


def score_with(graph: nn.Module, telemetry: Telemetry, window: int, batch: int = 2048) -> Scores:
    """Run `graph` over every row's window."""
    windows = telemetry.windows(window)
    parts = []
    with torch.inference_mode():
        for first in range(0, len(telemetry), batch):
            rows = slice(first, first + batch)
            values = torch.from_numpy(np.ascontiguousarray(windows[rows]))
            answer = graph(values, torch.from_numpy(telemetry.time[rows]))
            parts.append([part.numpy() for part in answer])
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))
