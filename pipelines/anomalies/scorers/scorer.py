"""What a scorer is, and how it finds the windows that a model fails on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Windows = NDArray[np.float32]  # [N, T, F]
Seconds = NDArray[np.int64]  # [N]


class Explanation(NamedTuple):
    contributions: NDArray[np.float32]  # [n, F]
    expected: NDArray[np.float32]  # [n, F]


class Scored(NamedTuple):
    """`score` is NaN where scoring failed; `failed` says why, by row."""

    score: NDArray[np.float32]  # [N]
    failed: dict[int, str]
    explain: Callable[[NDArray[np.intp]], Explanation]  # of some rows


class Scorer(Protocol):
    """One version of a model. Scoring never raises: what fails is in `Scored.failed`."""

    def score(self, values: Windows, time: Seconds) -> Scored: ...

    def close(self) -> None: ...


def isolate(
    run: Callable[[Windows, Seconds], NDArray[np.float32]],
    values: Windows,
    time: Seconds,
    most_failures: int,
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Scores of all windows that can be scored: those that fail are halved until one is left.

    After `most_failures` single ones it is the model that is broken, and the rest fails together.
    """
    score = np.full(len(values), np.nan, np.float32)
    failed: dict[int, str] = {}
    waiting = [(0, len(values))]
    single = 0
    while waiting:
        first, last = waiting.pop()
        if first == last:
            continue
        try:
            score[first:last] = run(values[first:last], time[first:last])
        except Exception as error:  # whatever a model server or a graph comes up with
            if last - first > 1 and single < most_failures:
                middle = (first + last) // 2
                waiting += [(middle, last), (first, middle)]
                continue
            single += 1
            reason = f"scoring failed: {str(error).strip().splitlines()[0][:300]}"
            failed |= dict.fromkeys(range(first, last), reason)
    for row in np.flatnonzero(~np.isfinite(score)):
        failed.setdefault(int(row), f"the model's score is {score[row]}, not a number")
    score[list(failed)] = np.nan
    if failed:
        log.error("%d of %d events: %s", len(failed), len(score), next(iter(failed.values())))
    return score, failed
