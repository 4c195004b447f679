"""A detector of windows: each event is judged by those of its source before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.anomaly.attribution import share_out
from models.anomaly.event_model import EventModel
from models.anomaly.preparation import Preparation, Prepared
from models.anomaly.surprise import Surprise
from models.anomaly.tabular import TabularDetector
from models.anomaly.telemetry import Telemetry, TelemetryError


class SequenceDetector(TabularDetector):
    """Judge each event by its window.

    A source's first events have shorter windows: what came before the first is missing and changes
    nothing. So a source never seen is judged from its first event on.

    Args:
        window: events in a window, the newest included.
        others: as for single events; the model is one of windows.
    """

    def __init__(self, window: int, **others: Any) -> None:
        if window < 2:
            raise TelemetryError(f"a window of {window} events; a sequence needs at least 2")
        super().__init__(**others)
        self.window = window

    def fit(self, telemetry: Telemetry) -> None:
        """Raises `TelemetryError` too where no source has as many rows as a window."""
        longest = int(np.bincount(telemetry.source).max())
        if longest < self.window:
            raise TelemetryError(
                f"the longest of {len(telemetry.sources)} sources has {longest} rows, fewer than a "
                f"window of {self.window}; give more rows or a shorter window (model.window)"
            )
        super().fit(telemetry)

    def graph(self) -> nn.Module:
        if self.model is None:
            raise TelemetryError("the detector has not been fitted")
        return WindowGraph(self.preparation, self.model, self.surprise).eval()

    def _prepare(self, telemetry: Telemetry) -> Prepared:
        windows = torch.from_numpy(telemetry.windows(self.window))
        with torch.inference_mode():
            prepared = prepare_windows(self.preparation, windows, torch.from_numpy(telemetry.time))
        # Tensors made in inference mode cannot be trained on.
        return Prepared(*(part.clone() for part in prepared))


class WindowGraph(nn.Module):
    """See `models.anomaly.detector`."""

    def __init__(self, preparation: Preparation, model: EventModel, surprise: Surprise) -> None:
        super().__init__()
        self.preparation = preparation
        self.model = model
        self.surprise = surprise

    def forward(self, values: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prepared = prepare_windows(self.preparation, values, time)
        raw, parts, expected = self.model.assess(prepared)
        score = self.surprise(raw)
        contributions = share_out(score, parts, prepared.present[:, -1])
        return score, contributions, self.preparation.restore(expected)


def prepare_windows(preparation: Preparation, values: Tensor, time: Tensor) -> Prepared:
    """values [B, T, F], time [B] of the newest → x, present [B, T, F] and the newest's context.

    `x` is NaN where a value is missing: the model of a sequence must know.
    """
    steps, fields = values.shape[1:]
    flat = preparation(values.reshape(-1, fields), time.repeat_interleave(steps))
    x, present, context = (p.reshape(values.shape[0], steps, p.shape[1]) for p in flat)
    x = torch.where(present > 0, x, torch.full_like(x, torch.nan))
    return Prepared(x, present, context[:, -1])
