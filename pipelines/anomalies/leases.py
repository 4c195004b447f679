"""Which processor has which partition: leases in the store, shared evenly.

A processor that lives makes numbers rise, its own and those of its partitions. Whoever sees a
number stand still for `lease_s` on its own clock takes its owner for dead: clocks of different
machines need not agree. Taking a partition raises its epoch, which every commit must name, so that
one who was only slow cannot write any more.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.anomalies.tables import PARTITIONS, PROCESSORS

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What a look at the leases says: give these up, take these, and these are gone."""

    release: list[int]
    take: list[int]
    lost: list[int]


class Leases:
    """The view of one processor.

    Args:
        name: of this processor, unlike any other's.
        partitions: of the stream.
        lease_s: silence after which a processor is taken for dead.
    """

    def __init__(self, engine: sa.Engine, name: str, partitions: int, lease_s: float) -> None:
        self.engine = engine
        self.name = name
        self.partitions = partitions
        self.lease_s = lease_s
        self.held: dict[int, int] = {}  # partition → epoch
        self._free: dict[int, tuple[int, int]] = {}  # partition → epoch and beat when found free
        self._lock = threading.Lock()  # `look` runs beside the others
        # (kind, key) → the number last seen, and when it was first seen so
        self._seen: dict[tuple[str, object], tuple[int, float]] = {}

    def open(self) -> None:
        """Make the rows of partitions that nobody has made yet; another may do so meanwhile."""
        with self.engine.begin() as connection:
            known = set(connection.scalars(sa.select(PARTITIONS.c.partition)))
        for partition in set(range(self.partitions)) - known:
            row = {"partition": partition, "epoch": 0, "beat": 0, "commits": 0, "verdict": 0}
            try:
                with self.engine.begin() as connection:
                    connection.execute(sa.insert(PARTITIONS).values(row))
            except sa.exc.IntegrityError:
                continue

    def look(self) -> Wanted:
        """Show that we live, and see who else does."""
        with self._lock:
            return self._look()

    def _look(self) -> Wanted:
        mine = (PARTITIONS.c.owner == self.name) & PARTITIONS.c.partition.in_(list(self.held))
        with self.engine.begin() as connection:
            alive = connection.execute(
                sa.update(PROCESSORS)
                .where(PROCESSORS.c.name == self.name)
                .values(beat=PROCESSORS.c.beat + 1)
            )
            if not alive.rowcount:
                connection.execute(sa.insert(PROCESSORS).values(name=self.name, beat=1))
            connection.execute(sa.update(PARTITIONS).where(mine).values(beat=PARTITIONS.c.beat + 1))
            processors = connection.execute(sa.select(PROCESSORS)).all()
            columns = (PARTITIONS.c[n] for n in ("partition", "owner", "epoch", "beat"))
            rows = connection.execute(sa.select(*columns).order_by(PARTITIONS.c.partition)).all()
        now = time.monotonic()
        living = sorted(p.name for p in processors if self._lives("processor", p.name, p.beat, now))
        self._forget(sorted({p.name for p in processors} - set(living)))
        lost, free = [], []
        for row in rows:
            if row.partition in self.held:
                if row.owner != self.name or row.epoch != self.held[row.partition]:
                    lost.append(row.partition)
                continue
            silent = not self._lives("partition", row.partition, (row.epoch, row.beat), now)
            if row.owner is None or row.owner == self.name or silent:
                free.append(row.partition)
                self._free[row.partition] = row.epoch, row.beat
        share = self._share(living)
        kept = sorted(set(self.held) - set(lost))
        return Wanted(kept[share:], free[: max(0, share - len(kept))], lost)

    def _share(self, living: list[str]) -> int:
        """How many partitions are ours: as many as the others have, the first of us one more."""
        each, more = divmod(self.partitions, len(living))
        return each + (living.index(self.name) < more)

    def _lives(self, kind: str, key: object, number: object, now: float) -> bool:
        if kind == "processor" and key == self.name:
            return True
        before = self._seen.get((kind, key))
        if before is None or before[0] != number:
            self._seen[kind, key] = number, now  # type: ignore[assignment]
            return True
        return now - before[1] < self.lease_s

    def _forget(self, dead: list[str]) -> None:
        for name in dead:
            beat = self._seen.pop(("processor", name))[0]
            with self.engine.begin() as connection:
                gone = (PROCESSORS.c.name == name) & (PROCESSORS.c.beat == beat)
                if connection.execute(sa.delete(PROCESSORS).where(gone)).rowcount:
                    log.warning("processor %s has been silent for %g s", name, self.lease_s)

    def take(self, partition: int) -> bool:
        """Whether it is ours now; another may have been quicker."""
        with self._lock:
            epoch, beat = self._free[partition]
            same = (PARTITIONS.c.epoch == epoch) & (PARTITIONS.c.beat == beat)
            with self.engine.begin() as connection:
                taken = connection.execute(
                    sa.update(PARTITIONS)
                    .where((PARTITIONS.c.partition == partition) & same)
                    .values(owner=self.name, epoch=epoch + 1)
                )
            if taken.rowcount:
                self.held[partition] = epoch + 1
            return bool(taken.rowcount)

    def release(self, partition: int) -> None:
        """Free for others at once."""
        with self._lock:
            epoch = self.held[partition]
            mine = (PARTITIONS.c.partition == partition) & (PARTITIONS.c.epoch == epoch)
            with self.engine.begin() as connection:
                connection.execute(sa.update(PARTITIONS).where(mine).values(owner=None))
            del self.held[partition]

    def lose(self, partition: int) -> None:
        """It is another's: nothing is to be done."""
        with self._lock:
            self.held.pop(partition, None)

    def close(self) -> None:
        """Others share what was ours without waiting."""
        for partition in list(self.held):
            self.release(partition)
        with self.engine.begin() as connection:
            connection.execute(sa.delete(PROCESSORS).where(PROCESSORS.c.name == self.name))
