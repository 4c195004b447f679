"""Publishes what is found, and what was refused: the store is the outbox of both.

The topic itself says how far it has come: its last message's sequence. So nothing is published
twice, whoever dies when, and a broker that comes back with less is told again. A topic that is
empty gets what was detected within the last `again_s`.

Dead letters were written with the commit that passed them over, and leave the store once the broker
has them. Where a crash comes between the two, the broker knows them by their token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from pipelines.anomalies.brokers.broker import Broker
from pipelines.anomalies.commits import CommitStore

_COMMITS = 20  # whose dead letters are in memory together


class Publisher:
    """Args:
    most: messages sent together.
    again_s: see the module.
    """

    def __init__(self, broker: Broker, store: CommitStore, most: int, again_s: float) -> None:
        self._broker = broker
        self._store = store
        self._most = most
        self._again_s = again_s

    async def step(self) -> int:
        """Publish some; returns how many.

        Raises:
            BrokerError: the broker is away.
            OperationalError: the store is.
        """
        last = await self._broker.published()
        since_us = 0 if last is not None else round((time.time() - self._again_s) * 1e6)
        rows = await asyncio.to_thread(self._store.anomalies, last or 0, since_us, self._most)
        if rows:
            await self._broker.publish([(row["sequence"], message(row)) for row in rows])
        return len(rows)

    async def bury(self) -> None:
        """All dead letters that wait.

        Raises:
            BrokerError, OperationalError: as above.
        """
        while rows := await asyncio.to_thread(self._store.letters, _COMMITS):
            for row in rows:
                await self._broker.bury(row.token, row.letters)
                await asyncio.to_thread(self._store.letters_gone, [row.sequence])


def message(row: Mapping[str, Any]) -> bytes:
    """An anomaly as the topic tells it: the store's row, times as text."""
    times = {n: datetime.fromtimestamp(row[n] / 1e6, UTC) for n in ("timestamp", "detected_at")}
    return orjson.dumps({**row, **times}, option=orjson.OPT_UTC_Z)
