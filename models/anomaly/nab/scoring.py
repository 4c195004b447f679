"""The scoring rule of the Numenta Anomaly Benchmark, written from its description.

Lavin & Ahmad (2015), "Evaluating real-time anomaly detection algorithms – the Numenta anomaly
benchmark". An alarm within a labelled window earns the more the earlier it comes; only the best of
a window counts. An alarm outside costs, little just behind a window and fully far from one. A
window without alarm costs. Alarms within the first 15 % of a file, at most 750 rows, count for
nothing. 0 is what a detector gets that never alarms, 100 one that alarms at each window's first
row and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int]  # first and last row

PROBATION = 0.15  # share of a file that is not scored …
LONGEST_FILE = 5_000  # … of at most so many rows


class Profile(NamedTuple):
    """What a caught window earns, and what a missed one and a false alarm cost."""

    true_positive: float
    false_negative: float
    false_positive: float


class Score(NamedTuple):
    """Of one file, or of many together.

    `raw` is the sum of weights; `windows` how many there are, `caught` how many of them had an
    alarm, `false_alarms` how many alarms lay outside.
    """

    raw: float
    windows: int
    caught: int
    false_alarms: int


def read_profiles(path: Path) -> dict[str, Profile]:
    """The benchmark's own `config/profiles.json`."""
    found = json.loads(path.read_text())
    return {
        name: Profile(
            entry["CostMatrix"]["tpWeight"],
            entry["CostMatrix"]["fnWeight"],
            entry["CostMatrix"]["fpWeight"],
        )
        for name, entry in found.items()
    }


def probation(rows: int) -> int:
    """How many rows at the start of a file are not scored."""
    return int(PROBATION * min(rows, LONGEST_FILE))


def sigmoid(position: NDArray[np.floating]) -> NDArray[np.float64]:
    """The weight at a position: −1 at a window's start … 0 at its end; beyond 3 it is −1."""
    near = 2 / (1 + np.exp(5 * np.minimum(position, 3.0))) - 1
    return np.where(position > 3.0, -1.0, near)


def weights(rows: int, windows: Sequence[Window]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What an alarm in each row weighs, and the number of the window it is in (−1: in none).

    Args:
        rows: of the file, N.
        windows: first and last row of each, in order, not overlapping.

    Returns:
        weight [N]: within windows 1 at the start, falling to almost 0; outside 0 … −1.
        inside [N].
    """
    weight = np.full(rows, -1.0)
    inside = np.full(rows, -1)
    best = float(sigmoid(np.array(-1.0)))
    for number, (first, last) in enumerate(windows):
        row = np.arange(first, last + 1)
        inside[row] = number
        weight[row] = sigmoid(-(last - row + 1) / (last - first + 1)) / best
        end = windows[number + 1][0] if number + 1 < len(windows) else rows
        row = np.arange(last + 1, end)
        # a window of one row has no width to measure distance in: all beyond it is far
        weight[row] = sigmoid((row - last) / max(last - first, 1e-9))
    return weight, inside


def score(
    rows: int, windows: Sequence[Window], alarms: NDArray[np.integer], profile: Profile
) -> Score:
    """The score of a file's alarms: row numbers, in any order, each counted once."""
    weight, inside = weights(rows, windows)
    counted = np.unique(alarms[alarms >= probation(rows)]).astype(np.int64)
    within = inside[counted] >= 0
    earned = np.zeros(len(windows))
    np.maximum.at(earned, inside[counted[within]], weight[counted[within]])
    caught = np.zeros(len(windows), dtype=bool)
    caught[inside[counted[within]]] = True
    raw = (
        profile.true_positive * earned.sum()
        + profile.false_positive * weight[counted[~within]].sum()
        - profile.false_negative * (~caught).sum()
    )
    return Score(float(raw), len(windows), int(caught.sum()), int((~within).sum()))


def total(scores: Iterable[Score]) -> Score:
    """Of all files together."""
    columns = list(zip(*scores, strict=True))
    return Score(sum(columns[0]), sum(columns[1]), sum(columns[2]), sum(columns[3]))


def normalised(score: Score, profile: Profile) -> float:
    """Between 0 (no alarm at all) and 100 (perfect); a poor detector gets less than 0."""
    null = -profile.false_negative * score.windows
    perfect = profile.true_positive * score.windows
    return 100 * (score.raw - null) / (perfect - null)


def corpus_score(
    rows: Mapping[str, int],
    windows: Mapping[str, Sequence[Window]],
    alarms: Mapping[str, NDArray[np.integer]],
    profile: Profile,
) -> tuple[float, Score]:
    """The normalised score of all files, and what it is made of."""
    found = total(score(n, windows[name], alarms[name], profile) for name, n in rows.items())
    return normalised(found, profile), found
