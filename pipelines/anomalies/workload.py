"""The partitions at hand: what is known of them, what they came to, and how it gets to the store.

Everything here blocks; the processor calls it in threads, one call at a time. Only `write` and
`merge` run beside the others: they touch nothing but the warehouse.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.anomalies import journal, model
from pipelines.anomalies.analysis import Analysis, Rules, packed
from pipelines.anomalies.brokers.broker import Entry
from pipelines.anomalies.commits import Commit, CommitStore, FencedError, Step
from pipelines.anomalies.findings import Findings
from pipelines.anomalies.journal import Record, Verdict
from pipelines.anomalies.landing import LandedTable
from pipelines.anomalies.landing_rows import score_rows, telemetry_rows
from pipelines.anomalies.leases import Leases
from pipelines.anomalies.metrics import AnomalyMetrics
from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.partition import partition_of
from pipelines.anomalies.scorers.scorer import Scorer
from pipelines.anomalies.sources import Arrays
from pipelines.anomalies.telemetry_reader import Events, TelemetryReader

log = logging.getLogger(__name__)


@dataclass
class Holding:
    """One partition: where its commits are, and what has not landed in the warehouse yet."""

    position: str | None
    commits: int
    verdict: int
    first: int  # commit that has not landed
    landed_at: float
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        if len(batch):
            self.batches.append(batch)
            self.rows += len(batch)

    def landed(self, landing: Landing, now: float) -> None:
        """What has come since it began stays."""
        del self.batches[: len(landing.batches)]
        self.rows -= sum(map(len, landing.batches))
        self.first, self.landed_at = landing.last + 1, now


class Landing(NamedTuple):
    """Commits of a partition on their way to the warehouse, and its state as of the last."""

    partition: int
    holding: Holding
    epoch: int
    first: int
    last: int
    batches: list[pa.RecordBatch]
    state: Arrays


@dataclass
class Pending:
    """What a batch came to and is not committed yet."""

    findings: Findings
    positions: dict[int, str] = field(default_factory=dict)
    verdicts: dict[int, int] = field(default_factory=dict)


class Workload:
    """Args:
    champion: the folder of the version in force.
    scorer: makes a scorer for a model.
    scores, telemetry: tables of the warehouse in which scores and what was scored land; None: the
        latter does not.
    land_s, land_rows: how often a partition lands, and from how many rows on at once; twice as many
        wait at most.
    thresholds_s: how often thresholds in force are told to the store.
    """

    def __init__(
        self,
        store: CommitStore,
        leases: Leases,
        scores: LandedTable,
        telemetry: LandedTable | None,
        reader: TelemetryReader,
        rules: Rules,
        champion: Callable[[], Path],
        scorer: Callable[[AnomalyModel], Scorer],
        metrics: AnomalyMetrics,
        land_s: float,
        land_rows: int,
        thresholds_s: float,
    ) -> None:
        self.held: dict[int, Holding] = {}
        self._store = store
        self._leases = leases
        self._scores = scores
        self._telemetry = telemetry
        self._reader = reader
        self._rules = rules
        self._champion = champion
        self._scorer = scorer
        self._metrics = metrics
        self._land_s = land_s
        self._land_rows = land_rows
        self._thresholds_s = thresholds_s
        self._told_at = float("-inf")
        self._untold: set[str] = set()  # sources whose thresholds may have moved
        self._refused: Path | None = None  # a version that could not be loaded

    def open(self) -> None:
        """Load the model in force.

        Raises:
            ArtifactError: there is none, or it is damaged.
            ThresholdError: its normal scores cannot calibrate the threshold.
        """
        self._path = Path(self._champion())
        self.analysis = self._analysis(self._path)
        self._tell_start(self.analysis)

    def _analysis(self, path: Path) -> Analysis:
        found = model.load(path)
        log.info("model %s %s, fields %s", found.name, found.version, list(found.fields))
        return Analysis(found, self._scorer(found), self._rules)

    def _tell_start(self, analysis: Analysis) -> None:
        told, now_us = analysis.model, round(time.time() * 1e6)
        self._store.tell_start(told.name, told.version, analysis.start(), now_us)

    def changed_model(self) -> Path | None:
        """The version in force, if it is another one."""
        path = Path(self._champion())
        return None if path in (self._path, self._refused) else path

    def change_model(self, path: Path) -> None:
        """Go on with this version; a bad one is not taken. Nothing may be landing."""
        try:
            fresh = self._analysis(path)
        except Exception as error:
            self._refused = path
            self._metrics.failures.labels("model").inc()
            log.error("%s is in force, but cannot be used: %s", path, error)
            return
        self._tell_start(fresh)
        for partition in self.held:
            fresh.take(partition, packed(self.analysis.state(partition)), [])
        self.analysis.scorer.close()
        self.analysis, self._path = fresh, path
        for partition in list(self.held):
            self.land(partition)

    def take(self, partition: int) -> None:
        """Go on where its last owner stood."""
        standing = self._store.load(partition)
        batches = [journal.unpack(record) for _, record in standing.records]
        first = standing.records[0][0] if standing.records else standing.commits + 1
        holding = Holding(
            standing.position, standing.commits, standing.verdict, first, time.monotonic()
        )
        records = [journal.read(b, self.analysis.model.fields) for b in batches]
        if not self.analysis.take(partition, standing.state, records):
            log.warning(
                "partition %d: its thresholds are of another rule or of other settings; its "
                "sources start from the calibrated threshold",
                partition,
            )
        for batch in batches:
            holding.add(batch)
        self.held[partition] = holding
        log.info("partition %d taken, at %s", partition, standing.position or "its beginning")

    def drop(self, partition: int) -> None:
        """It is another's; what was not committed, the other does."""
        if self.held.pop(partition, None) is not None:
            self.analysis.drop(partition)
            log.warning("partition %d went to another processor", partition)
        self._leases.lose(partition)

    def release(self, partition: int) -> None:
        """Hand it over, with nothing left to do again. Nothing may be landing."""
        self.land(partition)
        if partition in self.held:
            del self.held[partition]
            self.analysis.drop(partition)
            self._leases.release(partition)
            log.info("partition %d handed over", partition)

    def read(self, entries: Sequence[Entry], now: float) -> Events:
        entries = [e for e in entries if e.partition in self.held]
        return self._reader.read(entries, self.analysis.model.fields, now)

    def analyse(self, events: Events, entries: Sequence[Entry], now: float) -> Pending:
        pending = Pending(self.analysis.step(events, round(now * 1e6)))
        pending.findings.letters = [*events.letters, *pending.findings.letters]
        for entry in entries:
            if entry.partition in self.held:
                pending.positions[entry.partition] = entry.position
        self._untold.update(events.source)
        return pending

    def hear_verdicts(self, most: int) -> Pending | None:
        """Apply what people have said of our sources since the last time; None: nothing."""
        if not self.held:
            return None
        after = min(h.verdict for h in self.held.values())
        heard = self._store.verdicts(after, most)
        mine: dict[int, list[Verdict]] = {}
        partitions = self._leases.partitions
        for verdict in heard:
            partition = partition_of(verdict.source, partitions)
            if partition in self.held and verdict.sequence > self.held[partition].verdict:
                mine.setdefault(partition, []).append(verdict)
        if not heard or (not mine and heard[-1].sequence == after):
            return None
        pending = Pending(Findings())
        # Also where none was ours: the next look begins behind them.
        pending.verdicts = {
            p: heard[-1].sequence for p, h in self.held.items() if h.verdict < heard[-1].sequence
        }
        for partition, verdicts in mine.items():
            self.analysis.judge_verdicts(verdicts)
            self._untold.update(v.source for v in verdicts)
            pending.findings.records[partition] = self._no_events()._replace(verdicts=verdicts)
            self._metrics.verdicts.inc(len(verdicts))
        return pending

    def _no_events(self) -> Record:
        fields, none = self.analysis.model.fields, np.empty(0)
        return Record(
            fields, self.analysis.model.version, [], [], none.astype(np.int64),
            none.astype(np.float32), none, none.astype(np.bool_), none.astype(np.int8),
            none.astype(np.uint64), np.empty((0, len(fields)), np.float32),
        )  # fmt: skip

    def commit(self, pending: Pending, now: float) -> None:
        """All of it at once; of partitions that were lost meanwhile nothing.

        Raises:
            OperationalError: the store is away or its disk is full; to be called again.
        """
        found = pending.findings
        touched = {*found.records, *pending.positions, *pending.verdicts}
        batches = {}
        while touched := touched & set(self.held):
            steps = {}
            for partition in sorted(touched):
                holding = self.held[partition]
                if partition not in batches:
                    record = found.records.get(partition) or self._no_events()
                    batches[partition] = record.batch()
                steps[partition] = Step(
                    self._leases.held.get(partition, -1),
                    holding.commits + 1,
                    pending.positions.get(partition, holding.position),
                    pending.verdicts.get(partition, holding.verdict),
                    journal.pack(batches[partition]),
                    found.anomalies.get(partition, []),
                    [one for one in found.letters if one.partition == partition],
                )
            try:
                self._store.commit(Commit(steps, self._thresholds(now)))
            except FencedError as error:
                self.drop(error.partition)
                continue
            for partition, step in steps.items():
                holding = self.held[partition]
                holding.position, holding.verdict = step.position, step.verdict
                holding.commits = step.commit
                holding.add(batches[partition])
            if self._told_at == now:
                self._untold.clear()
            return

    def tell_thresholds(self, now: float) -> None:
        """Those that moved since they were last told, where no event brings a commit."""
        if self._untold:
            rows = self._thresholds(now)
            if rows:
                self._store.commit(Commit({}, rows))
                self._untold.clear()

    def _thresholds(self, now: float) -> list[dict[str, Any]]:
        if now - self._told_at < self._thresholds_s and self._told_at != now:
            return []
        self._told_at = now
        current, sources = self.analysis.bank.current(), self.analysis.sources
        told = {"version": self.analysis.model.version, "updated_at": round(now * 1e6)}
        rows = [sources.row[name] for name in self._untold if name in sources.row]
        return [
            {
                "source": sources.names[row],
                "threshold": float(current[row]),
                "events": int(sources.seen[row]),
                **told,
            }
            for row in rows
        ]

    def landing_due(self) -> Landing | None:
        """Of the partition that holds much, or has waited longest, if that is long."""
        if not self.held:
            return None
        partition, holding = min(self.held.items(), key=lambda item: item[1].landed_at)
        most = max(self.held, key=lambda p: self.held[p].rows)
        if self.held[most].rows > self._land_rows:
            return self.landing(most)
        now = time.monotonic()
        if now - holding.landed_at <= self._land_s:
            return None
        if holding.commits < holding.first:
            holding.landed_at = now
            return None
        return self.landing(partition)

    def full(self) -> bool:
        """Whether so many rows wait for landing that no more may come."""
        return any(h.rows > 2 * self._land_rows for h in self.held.values())

    def landing(self, partition: int) -> Landing:
        """All that has not landed. Changes nothing."""
        holding = self.held[partition]
        epoch = self._leases.held.get(partition, -1)
        state = self.analysis.state(partition)
        return Landing(
            partition, holding, epoch, holding.first, holding.commits, list(holding.batches), state
        )

    def write(self, landing: Landing) -> bytes:
        """Rows to the warehouse; returns the state as the store keeps it.

        Raises:
            OSError: the disk is full; to be begun again.
        """
        where = landing.partition, landing.first, landing.last
        self._scores.land(*where, score_rows(landing.batches))
        if self._telemetry is not None:
            self._telemetry.land(*where, telemetry_rows(landing.batches))
        return packed(landing.state)

    def finish(self, landing: Landing, state: bytes) -> None:
        """The files are there: the state to the store, the journal away."""
        partition, holding = landing.partition, landing.holding
        if self.held.get(partition) is not holding:
            return  # another's now, or ours again: then it lands once more, and more with it
        try:
            self._store.land(partition, landing.epoch, state, landing.last)
        except FencedError:
            self.drop(partition)
            return
        holding.landed(landing, time.monotonic())

    def merge(self, partition: int) -> None:
        """Small files of the partition become large ones.

        Raises:
            OSError: as above.
        """
        self._scores.merge(partition)
        if self._telemetry is not None:
            self._telemetry.merge(partition)

    def land(self, partition: int) -> None:
        """All of it at once."""
        holding = self.held[partition]
        if holding.commits >= holding.first:
            landing = self.landing(partition)
            self.finish(landing, self.write(landing))

    def count(self, pending: Pending, events: Events) -> None:
        """For Prometheus, once a batch is committed."""
        found, metrics = pending.findings, self._metrics
        for result, number in (
            ("scored", found.events - found.late - found.to_review),
            ("late", found.late),
            ("to_review", found.to_review),
            ("duplicate", found.duplicates),
            ("dead", len(found.letters)),
        ):
            metrics.events.labels(result).inc(max(0, number))
        metrics.extra.inc(events.extra)
        metrics.new_sources.inc(found.new_sources)
        metrics.batch.observe(len(events.source))
        for rows in found.anomalies.values():
            for row in rows:
                if row["score"] is not None:
                    metrics.anomalies.labels(row["severity"]).inc()
        metrics.sources.set(len(self.analysis.sources))
        metrics.held.set(len(self.held))
