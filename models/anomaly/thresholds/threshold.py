"""What every threshold rule is: a bank of thresholds, one for each source, judging batches."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[np.generic]]


class Threshold(Protocol):
    """A bank of S thresholds, one a source. An event is anomalous where its score exceeds its own.

    All of a rule's memory is in arrays whose first axis is the source, so that a processor can
    commit it, hand sources over to another, and take them in.
    """

    def calibrate(self, scores: NDArray[np.floating]) -> None:
        """Learn where a source that nobody has seen yet starts: scores [N] of normal events.

        Raises:
            ThresholdError: too few for the risk that is asked for; the text says how many.
        """
        ...

    def grow(self, sources: int) -> None:
        """Have at least so many sources; new ones start as calibrated."""
        ...

    def judge(
        self, source: NDArray[np.integer], time: NDArray[np.floating], score: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """The threshold in force when each event came, [N]; afterwards the rule has learnt from it.

        Args:
            source: [N], below the number of sources; repeats are taken in order.
            time: [N] seconds, not falling within a source.
            score: [N]; NaN (scoring failed) is judged but never learnt from.
        """
        ...

    def verdict(self, source: int, score: float, confirmed: bool) -> None:
        """A person's word on an event that alarmed: recalibrates this source at once."""
        ...

    def current(self) -> NDArray[np.float64]:
        """[S]: what each source's next event will be judged by."""
        ...

    def state(self, sources: NDArray[np.integer] | None = None) -> State:
        """A copy of all that was learnt, S rows in each array; of some sources: in their order."""
        ...

    def restore(self, state: State) -> None:
        """Go on from there; replaces all sources."""
        ...


class ThresholdError(ValueError):
    """A threshold that cannot be calibrated, or a setting that makes no sense."""

    exit_code = 65  # EX_DATAERR
