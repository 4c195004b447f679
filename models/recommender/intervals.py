"""What folds say of the mean: a confidence interval by Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean over folds and where it lies with the given confidence."""

    mean: float
    low: float
    high: float


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean ± t · s / √n of n ≥ 2 values.

    Folds share most of their training data, so that their figures are not independent: the
    interval is rather too narrow (Bengio & Grandvalet, JMLR 2004).
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        raise ValueError(f"an interval needs at least 2 values, not {len(x)}")
    reach = stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Interval(float(x.mean()), float(x.mean() - reach), float(x.mean() + reach))
