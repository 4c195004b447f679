"""The anomaly store as the gateway uses it: in threads, connected when it first can be."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from pipelines.anomalies.store import AnomalyStoreError, connect
from serving.gateway.problems import Problem

log = logging.getLogger(__name__)
T = TypeVar("T")


class AnomalyDatabase:
    """Runs questions to the anomaly store.

    Args:
        url: see `pipelines.anomalies.store.connect`.
        busy_s: SQLite only: how long to wait for another writer.
    """

    def __init__(self, url: str, busy_s: float) -> None:
        self.url = url
        self.busy_s = busy_s
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()

    async def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """What the question answers, in one transaction.

        Raises:
            Problem: 503, the store cannot be reached or written; what the question raises.
        """
        try:
            return await asyncio.to_thread(self.run, question)
        except (sa.exc.SQLAlchemyError, AnomalyStoreError, OSError) as error:
            log.warning("the anomaly store failed: %s", first_line(error))
            raise Problem(
                503,
                "anomaly-store-unavailable",
                "the anomaly store does not answer; nothing was changed, try again",
                {"Retry-After": "2"},
            ) from error

    def run(self, question: Callable[[sa.Connection], T]) -> T:
        """The same, here and now: may wait for the disk or the network."""
        with self._lock:
            if self._engine is None:
                self._engine = connect(self.url, self.busy_s)
            engine = self._engine
        with engine.begin() as connection:
            return question(connection)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


def first_line(error: BaseException) -> str:
    """Of what it says, or its kind where it says nothing: drivers add whole statements."""
    return (str(error).splitlines() or [type(error).__name__])[0]
