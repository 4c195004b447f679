"""What all threshold rules share: rows of state by source, rounds, drift and verdicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.drift import Drift
from models.anomaly.thresholds.threshold import State, ThresholdError

Rows = dict[str, NDArray[Any]]


def rounds(source: NDArray[np.integer]) -> Iterator[NDArray[np.intp]]:
    """Positions of the first event of every source, then of the second, and so on.

    A round holds each source once, so that it can be judged and learnt from in one step, and each
    source's events come in their order: the result is that of one event after another.
    """
    order = np.argsort(source, kind="stable")
    grouped = source[order]
    first = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]])
    lengths = np.diff(np.r_[first, len(grouped)])
    rank = np.arange(len(grouped)) - np.repeat(first, lengths)
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(order[by_rank], np.cumsum(np.bincount(rank))[:-1])


class Bank(ABC):
    """One threshold for each source; a rule fills in where it starts and how it learns.

    An event that does not alarm is learnt from. Of a run of alarms only the first is, cut to not
    far above the threshold: a rule that never learnt from alarms would see a tail without its end,
    and sink a little with each alarm until it alarms always; one that learnt from them all would
    take a long anomaly for normal. What persists longer than `adapt_after_s` moves the threshold
    by a shift instead; see `Drift`. Lengths on the scale of scores are told in reaches: one is the
    distance between the median of the calibration scores and the calibrated threshold.

    Args:
        risk: wanted share of normal events that alarm, between 0 and 1.
        adapt_after_s: seconds that a shift must last to become the new normal; None: it never
            does.
        adapt_events: least events above the threshold that such a shift must have.
        verdict_limit: how far verdicts may move a threshold, in reaches.
        cut: how far above the threshold an alarm may lie as it is learnt, in reaches; None: as far
            as it does.

    Raises:
        ThresholdError: a setting out of its range.
    """

    def __init__(
        self,
        risk: float,
        adapt_after_s: float | None = None,
        adapt_events: int = 10,
        verdict_limit: float = 2.0,
        cut: float | None = 1.0,
    ) -> None:
        if not 0 < risk < 0.5:
            raise ThresholdError(f"risk must be between 0 and 0.5, not {risk}")
        if verdict_limit < 0:
            raise ThresholdError(f"verdict_limit must not be negative, not {verdict_limit}")
        if cut is not None and cut <= 0:
            raise ThresholdError(f"cut must be above 0, or null for none, not {cut}")
        self.risk = risk
        self._cut = np.inf if cut is None else cut
        self.verdict_limit = verdict_limit
        self._drift = Drift(adapt_after_s, adapt_events)
        self._template: Rows = {}
        self._rows: Rows = {}
        self._calibrated = self._median = self._reach = np.nan

    @abstractmethod
    def _needed(self) -> int:
        """How many scores calibration takes at least."""

    @abstractmethod
    def _start(self, scores: NDArray[np.float64]) -> Rows:
        """The rule's rows of one new source, `level` among them, from sorted normal scores."""

    @abstractmethod
    def _learn(self, source: NDArray[np.integer], score: NDArray[np.float64]) -> None:
        """Learn from one finite score of each of these sources and update their `level`."""

    @abstractmethod
    def _unlearn(self, source: int, score: float) -> None:
        """Forget a score that turned out not to be normal, as far as the rule can."""

    def calibrate(self, scores: NDArray[np.floating]) -> None:
        """Learn where a source that nobody has seen yet starts: scores [N] of normal events.

        Raises:
            ThresholdError: fewer finite scores than the risk needs.
        """
        known = np.sort(np.asarray(scores, dtype=np.float32).ravel().astype(np.float64))
        known = known[np.isfinite(known)]
        if len(known) < self._needed():
            raise ThresholdError(
                f"{len(known)} scores of normal events cannot calibrate {type(self).__name__} to a "
                f"risk of {self.risk:g}: it takes at least {self._needed()}; give more, or accept "
                "a higher risk"
            )
        rows = self._start(known)
        self._calibrated = float(rows["level"])
        self._median = float(np.median(known))
        scale = max(abs(self._calibrated), abs(self._median), 1e-9)
        self._reach = max(self._calibrated - self._median, 1e-6 * scale)
        verdicts = {"least": np.array(-np.inf), "most": np.array(np.inf)}
        self._template = rows | self._drift.start() | verdicts
        self._rows = {name: row[None][:0].copy() for name, row in self._template.items()}

    def grow(self, sources: int) -> None:
        """Have at least so many sources; new ones start as calibrated."""
        self._ready()
        more = sources - len(self._rows["level"])
        if more > 0:
            self._rows = {
                name: np.concatenate([rows, np.repeat(self._template[name][None], more, axis=0)])
                for name, rows in self._rows.items()
            }

    def judge(
        self, source: NDArray[np.integer], time: NDArray[np.floating], score: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """The threshold in force when each event came, [N]; afterwards the rule has learnt.

        Raises:
            ThresholdError: not calibrated, or a source beyond those it was grown to.
        """
        self._ready()
        known = len(self._rows["level"])
        thresholds = np.empty(len(source))
        if len(source) == 0:
            return thresholds
        if not 0 <= source.min() <= source.max() < known:
            raise ThresholdError(
                f"events of sources {source.min()} to {source.max()}, but there are {known} "
                "thresholds; grow() comes first"
            )
        # As the graph gives them: what is compared is then exactly what is remembered.
        scores = np.asarray(score, dtype=np.float32).astype(np.float64)
        times = np.asarray(time, dtype=np.float64)
        for rows in rounds(source):
            thresholds[rows] = self._step(source[rows], times[rows], scores[rows])
        return thresholds

    def _step(
        self, source: NDArray[np.integer], time: NDArray[np.float64], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Judge one event of each of these sources, and learn from it."""
        rows = self._rows
        shift = rows["shift"][source]
        base = np.clip(rows["level"][source], rows["least"][source], rows["most"][source])
        level: NDArray[np.float64] = base + shift
        above = score > level
        # the first of a run: the drift's clock is not running yet
        normal = np.isfinite(score) & (~above | (rows["balance"][source] == 0))
        self._drift.follow(rows, source, time, score, level, base)
        if normal.any():
            told = np.minimum(score, level + self._cut * self._reach)
            # within a shift, what lies below the unmoved threshold is of the time before
            told = np.where(score > base, told - shift, told)
            self._learn(source[normal], told[normal])
        return level

    def verdict(self, source: int, score: float, confirmed: bool) -> None:
        """A person's word on an event: recalibrates this source at once, within the limit.

        Dismissed: the threshold rises above the score. Confirmed although it lay below: the
        threshold sinks under it. Confirmed above: the rule forgets it as an example of normal.
        """
        self._ready()
        rows, margin = self._rows, 0.01 * self._reach
        told = float(np.float32(score)) - float(rows["shift"][source])
        if confirmed:
            missed = told <= self._base()[source]
            rows["least"][source] = min(rows["least"][source], told - margin)
            if missed:
                # Half-way to the median at the lowest: below that all would alarm.
                lowest = self._calibrated - min(self.verdict_limit, 0.5) * self._reach
                rows["most"][source] = min(rows["most"][source], max(told - margin, lowest))
            elif np.isfinite(told):
                highest = float(self._base()[source]) + self._cut * self._reach
                self._unlearn(source, min(told, highest))
        else:
            highest = self._calibrated + self.verdict_limit * self._reach
            least = min(told + margin, highest)
            rows["least"][source] = max(rows["least"][source], least)
            rows["most"][source] = max(rows["most"][source], rows["least"][source])

    def current(self) -> NDArray[np.float64]:
        """[S]: what each source's next event will be judged by."""
        self._ready()
        level: NDArray[np.float64] = self._base() + self._rows["shift"]
        return level

    def _base(self) -> NDArray[np.float64]:
        rows = self._rows
        return np.clip(rows["level"], rows["least"], rows["most"])

    def state(self, sources: NDArray[np.integer] | None = None) -> State:
        """A copy of all that was learnt, of all sources or of some."""
        self._ready()
        chosen = slice(None) if sources is None else sources
        return {name: rows[chosen].copy() for name, rows in self._rows.items()}

    def restore(self, state: State) -> None:
        """Go on from there; replaces all sources.

        Raises:
            ThresholdError: a state of another rule or of other settings.
        """
        self._ready()
        if set(state) != set(self._template):
            raise ThresholdError(
                f"the state has {sorted(state)}, but {type(self).__name__} keeps "
                f"{sorted(self._template)}: it is of another rule"
            )
        for name, row in self._template.items():
            if state[name].shape[1:] != row.shape:
                raise ThresholdError(
                    f"{name!r} of the state holds {state[name].shape[1:]} for each source, but the "
                    f"settings make it {row.shape}: restore with the settings it was saved with"
                )
        lengths = {len(rows) for rows in state.values()}
        if len(lengths) > 1:
            raise ThresholdError(f"the state's arrays speak of {sorted(lengths)} sources")
        self._rows = {
            name: np.array(rows, dtype=self._template[name].dtype) for name, rows in state.items()
        }

    def _ready(self) -> None:
        if not self._template:
            raise ThresholdError(
                f"{type(self).__name__} is not calibrated; calibrate() comes first"
            )
