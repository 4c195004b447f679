"""Give rows to a handler until they are handled, or the one at fault is found."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from pipelines.streaming.handler import Handler, Reader
from pipelines.streaming.metrics import StreamMetrics
from pipelines.streaming.source import DeadLetter

log = logging.getLogger(__name__)


class HandlerError(RuntimeError):
    """A handler that fails on everything it is given."""

    exit_code = 70  # EX_SOFTWARE


class Stopped(Exception):
    """The job is to stop, and the work at hand is not done."""


class Attempts:
    """Outages are waited out; after other errors the rows are halved until one is left.

    Args:
        attempts: how often rows are given to the handler before they are halved.
        max_failures: rows at fault one after the other, with none handled between: from then on it
            is the handler that is broken.
        backoff_s, longest_s: waits after failures, doubling.
        stopping: waits end when it is set.
    """

    def __init__(
        self,
        handler: Handler,
        reader: Reader,
        metrics: StreamMetrics,
        stopping: asyncio.Event,
        attempts: int,
        max_failures: int,
        backoff_s: float,
        longest_s: float,
    ) -> None:
        self._handler = handler
        self._reader = reader
        self._metrics = metrics
        self._stopping = stopping
        self._attempts = attempts
        self._max_failures = max_failures
        self._backoff_s = backoff_s
        self._longest_s = longest_s
        self._failed_in_a_row = 0

    async def handle(self, rows: Sequence[dict[str, Any]]) -> list[DeadLetter]:
        """Those at fault; all others are handled.

        Raises:
            HandlerError: too many in a row are at fault.
            Stopped: the job is to stop.
        """
        error = await self._try(rows)
        if error is None:
            return []
        if len(rows) == 1:
            return [self._at_fault(rows[0], error)]
        middle = len(rows) // 2
        return await self.handle(rows[:middle]) + await self.handle(rows[middle:])

    async def _try(self, rows: Sequence[dict[str, Any]]) -> Exception | None:
        """None: handled; otherwise the last error."""
        pause = Pause(self._backoff_s, self._longest_s, self._stopping)
        outages = tuple(self._handler.outages)
        for attempt in range(1, self._attempts + 1):
            while True:
                try:
                    await asyncio.to_thread(self._handler.handle, rows)
                    self._failed_in_a_row = 0
                    return None
                except Exception as error:
                    if not isinstance(error, outages):
                        self._metrics.failures.labels("handler").inc()
                        problem = error
                        break
                    self._metrics.failures.labels("outage").inc()
                    log.warning("cannot handle now: %s", str(error).splitlines()[:1])
                    await pause.wait()
            if attempt < self._attempts:
                await pause.wait()
        return problem

    def _at_fault(self, row: dict[str, Any], error: Exception) -> DeadLetter:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > self._max_failures:
            raise HandlerError(
                f"{self._failed_in_a_row} messages in a row could not be handled, the last for "
                f"{error!r}; they are not acknowledged, and come again"
            ) from error
        log.error("a message cannot be handled", exc_info=error)
        return DeadLetter(f"the handler failed: {error!r}", self._reader.write(row))


class Pause:
    """Waits that double, and end when the job is to stop."""

    def __init__(self, first_s: float, longest_s: float, stopping: asyncio.Event) -> None:
        self._next = first_s
        self._longest_s = longest_s
        self._stopping = stopping

    async def wait(self) -> None:
        """Raises `Stopped` if the job is to stop."""
        await sleep(self._next, self._stopping)
        self._next = min(2 * self._next, self._longest_s)
        if self._stopping.is_set():
            raise Stopped


async def sleep(seconds: float, stopping: asyncio.Event) -> None:
    """Shorter if the job is to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
