"""From checked events to what they mean: windows, scores, thresholds, findings.

Holds all that is remembered of the sources of the partitions at hand. Needs neither broker nor
store.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.anomalies.findings import Findings, told_fields
from pipelines.anomalies.findings import row as finding
from pipelines.anomalies.journal import Record, Verdict
from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.scorers.scorer import Explanation, Scored, Scorer
from pipelines.anomalies.severity import SeverityScale
from pipelines.anomalies.sources import (
    DUPLICATE,
    FRESH,
    LATE,
    NO_ID,
    TOO_LATE,
    Arrays,
    Sources,
    identities,
)
from pipelines.anomalies.store import ANOMALY, SEVERITIES, TO_REVIEW
from pipelines.anomalies.telemetry_reader import Events, Refused

UNKNOWN_SEVERITY = SEVERITIES[1]  # of events that nobody could score
_BANK = "threshold."  # before the names of the threshold's arrays in a state


class Threshold(Protocol):
    """The part of `models.anomaly.thresholds.threshold.Threshold` that is used here."""

    def calibrate(self, scores: NDArray[np.floating]) -> None: ...
    def grow(self, sources: int) -> None: ...
    def judge(
        self, source: NDArray[np.integer], time: NDArray[np.floating], score: NDArray[np.floating]
    ) -> NDArray[np.float64]: ...
    def verdict(self, source: int, score: float, confirmed: bool) -> None: ...
    def current(self) -> NDArray[np.float64]: ...
    def state(self) -> Arrays: ...
    def restore(self, state: Arrays) -> None: ...


class MinimumChange(Protocol):
    """Whether an event moved enough to alarm at all, [N]."""

    def moved(
        self, values: NDArray[np.floating], expected: NDArray[np.floating]
    ) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Rules:
    """What does not depend on the model's version.

    Args:
        threshold: makes an empty bank.
        minimum_change: makes the rule for a model's fields; None: there is none.
        remembered, late_s: see `Sources`.
    """

    threshold: Callable[[], Threshold]
    severity: SeverityScale
    minimum_change: Callable[[Sequence[str]], MinimumChange] | None
    remembered: int
    late_s: float


class Analysis:
    """One model on the sources of one processor."""

    def __init__(self, model: AnomalyModel, scorer: Scorer, rules: Rules) -> None:
        self.model = model
        self.scorer = scorer
        self.rules = rules
        self.sources = Sources(model.fields, model.window, rules.remembered, rules.late_s)
        self.bank = self._calibrated()
        self._minimum = rules.minimum_change and rules.minimum_change(model.fields)

    def _calibrated(self) -> Threshold:
        bank = self.rules.threshold()
        bank.calibrate(self.model.normal_scores)
        bank.grow(0)
        return bank

    def start(self) -> float:
        """The threshold of a source that nobody has seen."""
        bank = self._calibrated()
        bank.grow(1)
        return float(bank.current()[0])

    def step(self, events: Events, now_us: int) -> Findings:
        """Score, judge, remember."""
        found = Findings()
        known = len(self.sources)
        row = self.sources.rows(events.source, events.partition)
        found.new_sources = len(self.sources) - known
        self.bank.grow(len(self.sources))
        named = any(events.id)
        identity = identities(events.id) if named else np.full(len(row), NO_ID)
        order = np.lexsort((events.time_us, row))
        kind = self.sources.admit(row[order], events.time_us[order], identity[order])
        found.duplicates = int((kind == DUPLICATE).sum())
        found.letters = [self._too_late(events, int(n)) for n in order[kind == TOO_LATE]]
        wanted = (kind == FRESH) | (kind == LATE)
        order, kind = order[wanted], kind[wanted]
        if not len(order):
            return found
        row, time_us, values = row[order], events.time_us[order], events.values[order]
        identity = identity[order]
        found.events, found.late = len(order), int((kind == LATE).sum())
        scored = self.scorer.score(self._windows(row, values, kind), time_us // 1_000_000)
        threshold = self._judge(row, time_us, scored.score, kind)
        anomalous = scored.score > threshold  # a NaN is not
        alarms = np.flatnonzero(anomalous)
        explanation = self._explain(scored, alarms, len(self.model.fields))
        if self._minimum is not None and len(alarms):
            moved = self._minimum.moved(values[alarms], explanation.expected)
            anomalous[alarms[~moved]] = False
            alarms = alarms[moved]
            explanation = Explanation(*(part[moved] for part in explanation))
        self.sources.remember(row, time_us, identity, values, kind)
        partition = self.sources.partition[row]
        for p in map(int, np.unique(partition)):
            mine = np.flatnonzero(partition == p)
            found.records[p] = Record(
                self.model.fields, self.model.version, [],
                [self.sources.names[r] for r in row[mine]], time_us[mine], scored.score[mine],
                threshold[mine], anomalous[mine], kind[mine], identity[mine], values[mine],
            )  # fmt: skip
        found.to_review = len(scored.failed)
        severity = self.rules.severity.of(scored.score[alarms])
        for n, at in enumerate(alarms):
            expected, contributions = explanation.expected[n], explanation.contributions[n]
            alarm = finding(
                self.model,
                events,
                int(order[at]),
                now_us,
                status=ANOMALY,
                severity=severity[n],
                score=float(scored.score[at]),
                threshold=float(threshold[at]),
                fields=told_fields(self.model, values[at], expected, contributions),
            )
            found.anomalies.setdefault(int(partition[at]), []).append(alarm)
        for failed, reason in scored.failed.items():
            alarm = finding(
                self.model,
                events,
                int(order[failed]),
                now_us,
                status=TO_REVIEW,
                severity=UNKNOWN_SEVERITY,
                score=None,
                threshold=float(threshold[failed]),
                fields=told_fields(self.model, values[failed]),
                reason=reason,
            )
            found.anomalies.setdefault(int(partition[failed]), []).append(alarm)
        return found

    def apply(self, record: Record, partition: int) -> None:
        """Do again what a commit did, without the model."""
        self.judge_verdicts(record.verdicts)
        if not record.source:
            return
        row = self.sources.rows(record.source, np.full(len(record.source), partition))
        self.bank.grow(len(self.sources))
        order = np.lexsort((record.time_us, row))
        row, kind, time_us = row[order], record.kind[order], record.time_us[order]
        self._judge(row, time_us, record.score[order], kind)
        values, identity = record.values[order], record.identity[order]
        self.sources.remember(row, time_us, identity, values, kind)

    def judge_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Recalibrate the sources that people have spoken about."""
        for verdict in verdicts:
            row = self.sources.row.get(verdict.source)
            if row is not None:
                self.bank.verdict(row, verdict.score, verdict.confirmed)

    def _windows(
        self, row: NDArray[np.int64], values: NDArray[np.float32], kind: NDArray[np.int8]
    ) -> NDArray[np.float32]:
        late = kind == LATE
        if not late.any():
            return self.sources.windows(row, values)
        found = self.sources.alone(values)
        found[~late] = self.sources.windows(row[~late], values[~late])
        return found

    def _judge(
        self,
        row: NDArray[np.int64],
        time_us: NDArray[np.int64],
        score: NDArray[np.float32],
        kind: NDArray[np.int8],
    ) -> NDArray[np.float64]:
        fresh = kind == FRESH
        threshold = np.empty(len(row))
        threshold[fresh] = self.bank.judge(row[fresh], time_us[fresh] / 1e6, score[fresh])
        if not fresh.all():
            threshold[~fresh] = self.bank.current()[row[~fresh]]
        return threshold

    @staticmethod
    def _explain(scored: Scored, rows: NDArray[np.intp], width: int) -> Explanation:
        """An event alarms all the same where its explanation fails."""
        if not len(rows):
            return Explanation(*np.empty((2, 0, width), np.float32))
        try:
            return scored.explain(rows)
        except Exception:
            return Explanation(*np.full((2, len(rows), width), np.nan, np.float32))

    def _too_late(self, events: Events, n: int) -> Refused:
        row = self.sources.row[events.source[n]]
        behind = (int(self.sources.times[row, -1]) - int(events.time_us[n])) / 1e6
        reason = (
            f"too late: {events.source[n]!r} has sent events up to {behind:g} s later; at most "
            f"{self.rules.late_s:g} s, within the last {self.rules.remembered} events, are accepted"
        )
        payload = events.payload(n, self.model.fields)
        return Refused(reason, payload, int(events.partition[n]))

    def state(self, partition: int) -> Arrays:
        """A copy of all that is remembered of a partition's sources; see `packed`."""
        rows = self.sources.of(partition)
        arrays = self.sources.state(rows)
        return arrays | {_BANK + name: value[rows] for name, value in self.bank.state().items()}

    def take(self, partition: int, state: bytes | None, records: Iterable[Record]) -> bool:
        """Take a partition's sources in; whether their thresholds could be taken over.

        They cannot where they are of another rule or of other settings: then the sources start as
        calibrated.
        """
        whole = True
        if state is not None:
            with np.load(io.BytesIO(state), allow_pickle=False) as found:
                arrays = dict(found)
            self.sources.restore(arrays, partition)
            learnt = {n[len(_BANK) :]: v for n, v in arrays.items() if n.startswith(_BANK)}
            whole = self._extend(learnt)
            self.bank.grow(len(self.sources))
        for record in records:
            self.apply(record, partition)
        return whole

    def _extend(self, learnt: Arrays) -> bool:
        present = self.bank.state()
        if {n: v.shape[1:] for n, v in present.items()} != {
            n: v.shape[1:] for n, v in learnt.items()
        }:
            return False
        self.bank.restore({n: np.concatenate([v, learnt[n]]) for n, v in present.items()})
        return True

    def drop(self, partition: int) -> None:
        """Forget a partition's sources."""
        rows = np.flatnonzero(self.sources.partition != partition)
        learnt = self.bank.state()
        self.sources.keep(rows)
        self.bank.restore({name: value[rows] for name, value in learnt.items()})


def packed(state: Arrays) -> bytes:
    """A state as `Analysis.take` reads it: arrays as npz."""
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **state)
    return sink.getvalue()
