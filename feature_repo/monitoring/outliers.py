"""How many values lie far outside: by robust z-scores, and by the quartiles' fences.

Fences are those of the baseline, so that a share that grows means that values have moved out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

# A normal distribution's standard deviation by its median and mean absolute deviation.
_BY_MEDIAN, _BY_MEAN = 1.4826, 1.2533


class OutlierShares(NamedTuple):
    """Shares of the values that are not null."""

    robust_z: float
    iqr: float


@dataclass(frozen=True)
class Fences:
    """What counts as far outside.

    Robust z: |x − median| / s beyond `z`, with s from the median absolute deviation, or from the
    mean one if more than half of the values are equal; after B. Iglewicz and D. C. Hoaglin, How to
    detect and handle outliers, 1993 (they take 3.5). IQR: beyond `reach` interquartile ranges from
    the quartiles; after J. W. Tukey, Exploratory data analysis, 1977 (3: "far out").
    """

    median: float
    scale: float
    z: float
    low: float
    high: float

    @classmethod
    def of(cls, values: pl.Series, z: float, reach: float) -> Fences | None:
        """None without a finite value."""
        known = _finite(values)
        if not len(known):
            return None
        q1, median, q3 = np.quantile(known, [0.25, 0.5, 0.75])
        away = np.abs(known - median)
        scale = _BY_MEDIAN * float(np.median(away)) or _BY_MEAN * float(np.mean(away))
        width = reach * (q3 - q1)
        return cls(float(median), scale, z, float(q1 - width), float(q3 + width))

    def shares(self, values: pl.Series) -> OutlierShares | None:
        """None without a finite value."""
        known = _finite(values)
        if not len(known):
            return None
        far = np.abs(known - self.median) > self.z * self.scale
        outside = (known < self.low) | (known > self.high)
        return OutlierShares(float(far.mean()), float(outside.mean()))


def _finite(values: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    known = values.drop_nulls().cast(pl.Float64)
    return known.filter(known.is_finite()).to_numpy()
