"""The threshold in force for a source: what its stream has learnt, else where the stream begins."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.anomalies.store import STARTS, THRESHOLDS, AnomalyStoreError
from serving.gateway.anomalies.database import AnomalyDatabase, first_line
from serving.gateway.microbatch import MicroBatcher, OverloadedError

log = logging.getLogger(__name__)

SOURCE, COLD_START, MODEL = "source", "cold_start", "model"
UNAVAILABLE = "store_unavailable"


class InForce(NamedTuple):
    """A threshold and where it comes from.

    `SOURCE`: the stream of this source. `COLD_START`: nobody has seen the source yet; it is where
    the stream begins with a new one. `MODEL`: no stream has ever run this version; it is the
    artifact's own. `UNAVAILABLE`: one of the two, because the store does not answer.
    """

    threshold: float
    origin: str


class ThresholdCache:
    """Looks thresholds up, at most once in `max_age_s` for each source.

    While the store does not answer, what was read last goes on counting.

    Args:
        model, version: what the gateway serves.
        static: the artifact's own threshold.
        timeout_s: of a look-up.
        max_sources: remembered.
    """

    def __init__(
        self,
        database: AnomalyDatabase,
        model: str,
        version: str,
        static: float,
        max_age_s: float,
        timeout_s: float,
        max_sources: int,
    ) -> None:
        self.database = database
        self.model = model
        self.version = version
        self.static = static
        self.max_age_s = max_age_s
        self.timeout_s = timeout_s
        self.max_sources = max_sources
        self._start: float | None = None  # of the stream; None: no stream has run this version
        self._known: dict[str, tuple[float, float | None]] = {}  # source → read at, threshold
        # What is asked for during a look-up is looked up together after it.
        self._read = MicroBatcher[str, "float | None"](self._read_batch, 500, max_sources)

    async def of(self, sources: Collection[str]) -> Mapping[str, InForce]:
        """Each source's threshold; never raises and never waits longer than `timeout_s`."""
        oldest = time.monotonic() - self.max_age_s
        lacking = [s for s in sources if s not in self._known or self._known[s][0] < oldest]
        if lacking:
            try:
                async with asyncio.timeout(self.timeout_s):
                    await asyncio.gather(*(self._read.submit(s) for s in lacking))
            except (sa.exc.SQLAlchemyError, AnomalyStoreError, OSError, OverloadedError) as error:
                log.warning("thresholds not read: %s", first_line(error))
        return {source: self._in_force(source) for source in sources}

    def _in_force(self, source: str) -> InForce:
        start = self.static if self._start is None else self._start
        if source not in self._known:
            return InForce(start, UNAVAILABLE)
        threshold = self._known[source][1]
        if threshold is None:
            return InForce(start, MODEL if self._start is None else COLD_START)
        return InForce(threshold, SOURCE)

    async def _read_batch(self, sources: list[str]) -> Sequence[float | None]:
        table = THRESHOLDS.c
        query = sa.select(table.source, table.threshold).where(table.source.in_(set(sources)))
        start = sa.select(STARTS.c.threshold).where(
            STARTS.c.model == self.model, STARTS.c.version == self.version
        )
        self._start, rows = await asyncio.to_thread(
            self.database.run, lambda c: (c.scalar(start), c.execute(query).all())
        )
        found = {str(source): float(threshold) for source, threshold in rows}
        if len(self._known) + len(sources) > self.max_sources:
            self._known.clear()
        now = time.monotonic()
        self._known.update({source: (now, found.get(source)) for source in sources})
        return [found.get(source) for source in sources]
