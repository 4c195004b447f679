"""Raw numbers → what a model reads, and back: imputation, scaling, time features, in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.anomaly.telemetry import Telemetry, TelemetryError

Floats = NDArray[np.float64]
Scaling = Callable[[Floats], tuple[Floats, Floats]]  # [N, F], NaN: missing → centre, scale, [F]

_DAY, _WEEK = 86_400, 604_800
_MONDAY = 4 * _DAY  # 1970 began on a Thursday: this many seconds later it was Monday


def standard(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation."""
    return np.nanmean(values, axis=0), np.nanstd(values, axis=0)


def robust(values: Floats) -> tuple[Floats, Floats]:
    """Median and interquartile range, as wide as a normal distribution's standard deviation.

    Where half of the values are the same, the standard deviation stands in.
    """
    low, centre, high = np.nanpercentile(values, [25, 50, 75], axis=0)
    spread = (high - low) / 1.349
    return centre, np.where(spread > 0, spread, np.nanstd(values, axis=0))


class Prepared(NamedTuple):
    """One event each: B rows."""

    x: Tensor  # [B, F] scaled, missing values at the median
    present: Tensor  # [B, F] 1 where the value was there, else 0
    context: Tensor  # [B, C] what is read but never judged: missing fields, time of day and week


class Preparation(nn.Module):
    """Fill, scale and bend each field; say what was missing and when it is.

    Scaled values are bent by knee·asinh(x / knee): straight well below the knee, logarithmic far
    beyond it. Order is kept, and no field can drown all others. A field that never varied is
    scaled by `constant_scale`, in its own units.

    Args:
        scaling: `standard` or `robust`.
        knee: where scaled values begin to bend; large leaves them straight.
        constant_scale: what counts as one step of a field that was constant in training.
        time_features: sine and cosine of the hour of the day and the day of the week as context.
    """

    centre: Tensor
    scale: Tensor
    fill: Tensor
    gaps: Tensor

    def __init__(
        self,
        scaling: Scaling = standard,
        knee: float = 2.0,
        constant_scale: float = 1.0,
        time_features: bool = False,
    ) -> None:
        super().__init__()
        self.scaling = scaling
        self.knee = knee
        self.constant_scale = constant_scale
        self.time_features = time_features
        for name in ("centre", "scale", "fill"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("gaps", torch.zeros(0, dtype=torch.int64))

    def fit(self, telemetry: Telemetry) -> None:
        """Learn from normal rows.

        Raises:
            TelemetryError: a field without any value.
        """
        values = telemetry.values.astype(np.float64)
        missing = np.isnan(values)
        empty = np.flatnonzero(missing.all(axis=0))
        if len(empty):
            raise TelemetryError(
                f"field {telemetry.fields[empty[0]]!r} has no value in any of {len(values)} rows; "
                "leave it out or give at least one"
            )
        centre, scale = self.scaling(values)
        # A constant's computed deviation is a rounding error, not a scale.
        constant = scale <= 1e-7 * np.abs(centre)
        self.centre = torch.from_numpy(centre).float()
        self.scale = torch.from_numpy(np.where(constant, self.constant_scale, scale)).float()
        self.fill = torch.from_numpy(np.nanmedian(values, axis=0)).float()
        self.gaps = torch.from_numpy(np.flatnonzero(missing.any(axis=0)))

    def update(self, telemetry: Telemetry, memory: float) -> None:
        """Move towards recent normal rows: `memory` is the weight of what was known.

        Centre and scale become those of the mixture of both. A field without a value in these rows
        stays as it was, as does which fields are known to have gaps: the network is built on it.
        """
        values = telemetry.values.astype(np.float64)
        known = ~np.isnan(values).all(axis=0)
        centre, scale = self.centre.double().numpy(), self.scale.double().numpy()
        fill = self.fill.double().numpy()
        new_centre, new_scale = self.scaling(values[:, known])
        new_scale = np.where(new_scale <= 1e-7 * np.abs(new_centre), 0.0, new_scale)
        mixed = memory * centre[known] + (1 - memory) * new_centre
        old_part = scale[known] ** 2 + (centre[known] - mixed) ** 2
        new_part = new_scale**2 + (new_centre - mixed) ** 2
        scale[known] = np.sqrt(memory * old_part + (1 - memory) * new_part)
        centre[known] = mixed
        fill[known] = memory * fill[known] + (1 - memory) * np.nanmedian(values[:, known], axis=0)
        self.centre, self.scale, self.fill = (
            torch.from_numpy(part).float() for part in (centre, scale, fill)
        )

    @property
    def width(self) -> int:
        """Fields."""
        return len(self.centre)

    @property
    def context_width(self) -> int:
        return len(self.gaps) + (4 if self.time_features else 0)

    def forward(self, values: Tensor, time: Tensor) -> Prepared:
        """values [B, F], NaN: missing; time [B] seconds."""
        missing = torch.isnan(values)
        x = (torch.where(missing, self.fill, values) - self.centre) / self.scale
        x = self.knee * torch.asinh(x / self.knee)
        context = [missing[:, self.gaps].to(x.dtype)] if len(self.gaps) else []
        if self.time_features:
            context += [_turn(time, _DAY, 0), _turn(time, _WEEK, _MONDAY)]
        joined = torch.cat(context, dim=1) if context else x[:, :0]
        return Prepared(x, 1.0 - missing.to(x.dtype), joined)

    def restore(self, x: Tensor) -> Tensor:
        """Scaled values [B, F] in the fields' own units; the inverse of `forward`'s scaling."""
        # sinh of a large number would be infinite; what is expected never lies so far out.
        straight = self.knee * torch.sinh(torch.clamp(x / self.knee, -20.0, 20.0))
        return straight * self.scale + self.centre


def _turn(time: Tensor, period: int, start: int) -> Tensor:
    """[B] seconds → [B, 2], where in the period; integers keep the precision of large seconds."""
    angle = torch.remainder(time - start, period).float() * (2 * math.pi / period)
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=1)
