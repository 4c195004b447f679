"""One detector over the benchmark's files, each from scratch, with thresholds without labels.

A file's unscored beginning is all that the threshold is calibrated on; from there on scores and
thresholds know the past only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.anomaly.nab.files import Series
from models.anomaly.nab.scoring import Profile, Score, corpus_score, probation
from models.anomaly.online.episodes import first_alarms
from models.anomaly.thresholds.threshold import Threshold


class StreamScorer(Protocol):
    """Scores values in order, each by what came before it; high = anomalous."""

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]: ...


class Judged(NamedTuple):
    """Of one file: score and threshold [N] (infinite while unscored), rows of reported alarms."""

    score: NDArray[np.float64]
    threshold: NDArray[np.float64]
    alarms: NDArray[np.int64]


def settling(rows: int, share: float) -> int:
    """First rows of a file's unscored beginning whose scores calibrate nothing."""
    return int(share * probation(rows))


def thresholds(
    series: Series, score: NDArray[np.float64], settle: int, make: Callable[[], Threshold]
) -> NDArray[np.float64]:
    """The threshold in force at each row, calibrated on the unscored beginning."""
    start = probation(len(score))
    bank = make()
    bank.calibrate(score[settle + 1 : start])
    bank.grow(1)
    source = np.zeros(len(score) - start, dtype=np.int64)
    # the hours of some files fall back; a stream's time does not
    time = np.maximum.accumulate(series.time[start:]).astype(np.float64)
    judged = bank.judge(source, time, score[start:])
    return np.concatenate([np.full(start, np.inf), judged])


def judge(
    series: Series,
    score: NDArray[np.float64],
    settle: int,
    make: Callable[[], Threshold],
    quiet: int,
) -> Judged:
    """Alarms of one file; `quiet` rows after each report nothing."""
    level = thresholds(series, score, settle, make)
    return Judged(score, level, first_alarms(score > level, quiet))


def best_with_labels(
    corpus: Sequence[Series],
    scores: Mapping[str, NDArray[np.float64]],
    profile: Profile,
    quiet: int,
    candidates: int = 80,
) -> tuple[float, float, Score]:
    """The one threshold for all files that scores best, and what it scores.

    That is how the benchmark's published figures are made. It looks at the labels: a figure to
    compare with those, not one to expect.
    """
    rows = {s.name: len(s.values) for s in corpus}
    windows = {s.name: s.windows for s in corpus}
    seen = np.concatenate([scores[name][probation(n) :] for name, n in rows.items()])
    levels = np.unique(np.quantile(seen, 1 - np.geomspace(1e-5, 0.3, candidates)))
    best = (-np.inf, np.inf, Score(0.0, 0, 0, 0))
    for level in levels:
        above = {
            name: (scores[name] > level) & (np.arange(n) >= probation(n))
            for name, n in rows.items()
        }
        alarms = {name: first_alarms(rows_, quiet) for name, rows_ in above.items()}
        found, parts = corpus_score(rows, windows, alarms, profile)
        if found > best[0]:
            best = (found, float(level), parts)
    return best
