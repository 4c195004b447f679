"""When a shift that persists becomes the new normal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.threshold import ThresholdError

PATIENCE = 16  # so many quiet events end the longest run of alarms
SPREAD = 3.0  # deviations above the mean of a run at which its new threshold lies


class Drift:
    """Watches runs of alarms; one that lasts moves its source's threshold by a `shift`.

    A run begins with an alarm. Each alarm adds one to its balance (at most `PATIENCE`), each quiet
    event takes one away, and at nought it is over: a few quiet events within a shift do not stop
    its clock. When a run is `after_s` old and has `events` alarms, the threshold moves to the
    alarms' mean and `SPREAD` deviations. When the scores stay below the unmoved threshold as long,
    it moves back.

    Its memory are rows among the bank's: balance, since, count, mean, m2 (Welford's sum of
    squares), shift, calm, calm_since.
    """

    def __init__(self, after_s: float | None, events: int) -> None:
        if after_s is not None and after_s < 0:
            raise ThresholdError(f"adapt_after_s must not be negative, not {after_s}")
        if events < 2:
            raise ThresholdError(f"adapt_events must be at least 2, not {events}")
        self.after_s = np.inf if after_s is None else after_s
        self.events = events

    @staticmethod
    def start() -> dict[str, NDArray[Any]]:
        """The rows of one new source."""
        floats = dict.fromkeys(("since", "mean", "m2", "shift", "calm_since"), np.array(0.0))
        integers = dict.fromkeys(("balance", "count", "calm"), np.array(0, dtype=np.int32))
        return {**floats, **integers}

    def follow(
        self,
        rows: dict[str, NDArray[Any]],
        source: NDArray[np.integer],
        time: NDArray[np.float64],
        score: NDArray[np.float64],
        level: NDArray[np.float64],
        base: NDArray[np.float64],
    ) -> None:
        """Take one event of each of these sources; `base` is their level without the shift."""
        known = np.isfinite(score)
        above = known & (score > level)
        running = known & (above | (rows["balance"][source] > 0))
        if running.any():
            at = np.flatnonzero(running)
            self._run(rows, source[at], time[at], score[at], level[at], above[at])
        shifted = np.flatnonzero(known & (rows["shift"][source] > 0))
        if len(shifted):
            self._calm(rows, source[shifted], time[shifted], (score <= base)[shifted])

    def _run(
        self,
        rows: dict[str, NDArray[Any]],
        source: NDArray[np.integer],
        time: NDArray[np.float64],
        score: NDArray[np.float64],
        level: NDArray[np.float64],
        above: NDArray[np.bool_],
    ) -> None:
        balance = rows["balance"][source]
        fresh = balance == 0
        since = np.where(fresh, time, rows["since"][source])
        count = np.where(fresh, 0, rows["count"][source]) + above
        mean = np.where(fresh, 0.0, rows["mean"][source])
        m2 = np.where(fresh, 0.0, rows["m2"][source])
        apart = np.where(above, score - mean, 0.0)
        mean = mean + apart / np.maximum(count, 1)
        m2 = m2 + apart * np.where(above, score - mean, 0.0)
        balance = np.clip(balance + np.where(above, 1, -1), 0, PATIENCE)

        due = above & (time - since >= self.after_s) & (count >= self.events)
        moved = mean + SPREAD * np.sqrt(m2 / np.maximum(count, 1))
        # the least step counts: equal scores, just above, must not alarm on
        step = np.where(due, np.maximum(moved - level, 0.0), 0.0)
        rows["shift"][source] += np.where(due, np.nextafter(step, np.inf) + 1e-6 * abs(moved), 0.0)
        rows["calm"][source] = np.where(due, 0, rows["calm"][source])
        rows["balance"][source] = np.where(due, 0, balance)
        rows["since"][source] = since
        rows["count"][source] = count
        rows["mean"][source] = mean
        rows["m2"][source] = m2

    def _calm(
        self,
        rows: dict[str, NDArray[Any]],
        source: NDArray[np.integer],
        time: NDArray[np.float64],
        normal: NDArray[np.bool_],
    ) -> None:
        calm = rows["calm"][source]
        since = np.where(calm == 0, time, rows["calm_since"][source])
        calm = np.clip(calm + np.where(normal, 1, -1), 0, PATIENCE)
        over = normal & (time - since >= self.after_s)
        rows["shift"][source] = np.where(over, 0.0, rows["shift"][source])
        rows["calm"][source] = np.where(over, 0, calm)
        rows["calm_since"][source] = since
