"""One alarm for one episode: what goes on is not reported again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_alarms(above: NDArray[np.bool_], quiet: int) -> NDArray[np.int64]:
    """Rows of the alarms that are reported: after each, `quiet` rows report nothing."""
    reported: list[int] = []
    for row in np.flatnonzero(above):
        if not reported or row - reported[-1] > quiet:
            reported.append(int(row))
    return np.array(reported, dtype=np.int64)
