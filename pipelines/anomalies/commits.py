"""What processors write to the anomaly store: all of a batch in one transaction, or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipelines.anomalies.journal import Verdict
from pipelines.anomalies.store import (
    ANOMALIES,
    CONFIRMED,
    STARTS,
    THRESHOLDS,
    VERDICTS,
    in_order,
)
from pipelines.anomalies.tables import JOURNAL, LETTERS, PARTITIONS
from pipelines.streaming.source import DeadLetter

OUTAGES = (sa.exc.OperationalError, sa.exc.InterfaceError, OSError)  # "not now", a full disk too
_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class FencedError(Exception):
    """A partition has another owner now; nothing was written."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} went to another processor")
        self.partition = partition


class Standing(NamedTuple):
    """Where a partition is: `state` as of an earlier commit, and what happened since."""

    position: str | None
    commits: int
    verdict: int
    state: bytes | None
    records: list[tuple[int, bytes]]  # commit, record; rising


class Step(NamedTuple):
    """What one commit does to one partition."""

    epoch: int
    commit: int
    position: str | None
    verdict: int
    record: bytes
    anomalies: Sequence[Mapping[str, Any]]
    letters: Sequence[DeadLetter] = ()


class Letters(NamedTuple):
    """Dead letters of one commit, on their way to the broker."""

    sequence: int
    token: str
    letters: list[bytes]


@dataclass
class Commit:
    """One transaction: steps by partition, and thresholds in force (rows of `THRESHOLDS`)."""

    steps: dict[int, Step]
    thresholds: list[dict[str, Any]] = field(default_factory=list)


class CommitStore:
    """Methods raise `OUTAGES` while the database is away or full."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        insert = _INSERTS[engine.dialect.name]
        self._anomaly = insert(ANOMALIES).on_conflict_do_nothing(index_elements=["id"])
        threshold = insert(THRESHOLDS)
        told = {c: threshold.excluded[c] for c in ("threshold", "events", "version", "updated_at")}
        self._threshold = threshold.on_conflict_do_update(index_elements=["source"], set_=told)
        start = insert(STARTS)
        self._start = start.on_conflict_do_update(
            index_elements=["model", "version"],
            set_={c: start.excluded[c] for c in ("threshold", "updated_at")},
        )
        self._journal = sa.insert(JOURNAL)
        where = PARTITIONS.c.partition == sa.bindparam("p"), PARTITIONS.c.epoch == sa.bindparam("e")
        self._moved = sa.update(PARTITIONS).where(*where).values(
            position=sa.bindparam("at"), commits=sa.bindparam("n"), verdict=sa.bindparam("v")
        )  # fmt: skip
        self._landed = sa.update(PARTITIONS).where(*where).values(state=sa.bindparam("s"))

    def load(self, partition: int) -> Standing:
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.select(PARTITIONS).where(PARTITIONS.c.partition == partition)
            ).one()
            records = connection.execute(
                sa.select(JOURNAL.c.commit, JOURNAL.c.record)
                .where(JOURNAL.c.partition == partition)
                .order_by(JOURNAL.c.commit)
            ).all()
        since = [(r.commit, r.record) for r in records]
        return Standing(row.position, row.commits, row.verdict, row.state, since)

    def commit(self, commit: Commit) -> None:
        """Raises `FencedError`: nothing was written; take the partition out and try again."""
        anomalies = [row for step in commit.steps.values() for row in step.anomalies]
        letters = [
            {"token": uuid.uuid4().hex, "letters": [one.as_json().decode() for one in s.letters]}
            for s in commit.steps.values()
            if s.letters
        ]
        with self.engine.begin() as connection:
            # First the rows that a zombie and its heir both want: whoever comes second sees it.
            for partition, step in commit.steps.items():
                told = {"p": partition, "e": step.epoch, "at": step.position}
                told |= {"n": step.commit, "v": step.verdict}
                if not connection.execute(self._moved, told).rowcount:
                    raise FencedError(partition)
            if commit.steps:
                connection.execute(
                    self._journal,
                    [{"partition": p, "commit": s.commit, "record": s.record}
                     for p, s in commit.steps.items()],
                )  # fmt: skip
            if commit.thresholds:
                # In one order everywhere: two processors never wait for one another in a ring.
                rows = sorted(commit.thresholds, key=lambda row: str(row["source"]))
                connection.execute(self._threshold, rows)
            if anomalies:
                in_order(connection, ANOMALIES)
                connection.execute(self._anomaly, anomalies)
            if letters:
                connection.execute(sa.insert(LETTERS), letters)

    def land(self, partition: int, epoch: int, state: bytes, commit: int) -> None:
        """The state as of this commit: the journal before it is needed no more.

        Raises:
            FencedError: see there.
        """
        done = (JOURNAL.c.partition == partition) & (JOURNAL.c.commit <= commit)
        with self.engine.begin() as connection:
            told = {"p": partition, "e": epoch, "s": state}
            if not connection.execute(self._landed, told).rowcount:
                raise FencedError(partition)
            connection.execute(sa.delete(JOURNAL).where(done))

    def tell_start(self, model: str, version: str, threshold: float, now_us: int) -> None:
        """Where sources that nobody has seen begin with this version."""
        row = {"model": model, "version": version, "threshold": threshold, "updated_at": now_us}
        with self.engine.begin() as connection:
            connection.execute(self._start, row)

    def verdicts(self, after: int, most: int) -> list[Verdict]:
        """What people have said of scored anomalies, in its order."""
        query = (
            sa.select(
                VERDICTS.c.sequence, ANOMALIES.c.source, ANOMALIES.c.score, VERDICTS.c.verdict
            )
            .join(ANOMALIES, ANOMALIES.c.id == VERDICTS.c.anomaly)
            .where(VERDICTS.c.sequence > after, ANOMALIES.c.score.is_not(None))
            .order_by(VERDICTS.c.sequence)
            .limit(most)
        )
        with self.engine.begin() as connection:
            rows = connection.execute(query).all()
        return [Verdict(r.sequence, r.source, r.score, r.verdict == CONFIRMED) for r in rows]

    def letters(self, most: int) -> list[Letters]:
        """Those of the oldest commits that have not gone to the broker yet."""
        query = sa.select(LETTERS).order_by(LETTERS.c.sequence).limit(most)
        with self.engine.begin() as connection:
            rows = connection.execute(query).all()
        return [Letters(r.sequence, r.token, [t.encode() for t in r.letters]) for r in rows]

    def letters_gone(self, sequences: Sequence[int]) -> None:
        """The broker has them."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(LETTERS).where(LETTERS.c.sequence.in_(sequences)))

    def anomalies(self, after: int, since_us: int, most: int) -> list[dict[str, Any]]:
        """Rows behind a sequence, detected since then, in order."""
        query = (
            sa.select(ANOMALIES)
            .where(ANOMALIES.c.sequence > after, ANOMALIES.c.detected_at >= since_us)
            .order_by(ANOMALIES.c.sequence)
            .limit(most)
        )
        with self.engine.begin() as connection:
            rows = connection.execute(query).all()
        # SQLAlchemy's names are texts of a kind of their own, which orjson does not take.
        return [{str(name): value for name, value in row._mapping.items()} for row in rows]
