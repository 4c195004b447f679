"""A stream job: read a batch, handle it, keep dead letters, acknowledge. One batch at a time.

An entry is acknowledged only after its messages are handled or kept as dead letters, so a job may
be killed at any moment; handlers see messages again then, and must not mind. While something that
the handler needs is away, the job waits and reads nothing more: the broker holds what comes, and
memory holds one batch.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import start_http_server

from pipelines.streaming.attempts import Attempts, Pause, Stopped, sleep
from pipelines.streaming.handler import Handler, Reader
from pipelines.streaming.metrics import StreamMetrics
from pipelines.streaming.source import BrokerError, DeadLetter, Entry, Source

log = logging.getLogger(__name__)


@dataclass
class StreamJob:
    """See the module.

    Args:
        most_entries: entries of one batch.
        wait_s: how long a read waits for a first entry.
        gather_s: how long a batch that is not full waits for more.
        attempts, max_failures: see `Attempts`.
        max_deliveries: an entry delivered more often kills its consumers; it is a dead letter.
        backoff_s, longest_backoff_s: waits after failures, doubling.
        maintain_s: between calls of the handler's `maintain`.
        report_s: between lines in the log.
        metrics_port: where Prometheus may scrape; None: nowhere.
    """

    source: Source
    reader: Reader
    handler: Handler
    most_entries: int
    wait_s: float
    gather_s: float
    attempts: int
    max_failures: int
    max_deliveries: int
    backoff_s: float
    longest_backoff_s: float
    maintain_s: float
    report_s: float
    metrics_port: int | None
    metrics_host: str

    def __post_init__(self) -> None:
        self.metrics = StreamMetrics()
        self._stopping = asyncio.Event()
        self._handled = 0
        self._patient = Attempts(
            self.handler,
            self.reader,
            self.metrics,
            self._stopping,
            self.attempts,
            self.max_failures,
            self.backoff_s,
            self.longest_backoff_s,
        )

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            BrokerError: the broker does not answer at the start.
            HandlerError: the handler fails on everything.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            await self.source.open()
            await asyncio.to_thread(self.handler.open)
            if self.metrics_port is not None:
                start_http_server(self.metrics_port, self.metrics_host, self.metrics.registry)
            log.info("stream %s: started", self.source.name)
            beside = [
                asyncio.create_task(self._repeat(self.maintain_s, self._maintain)),
                asyncio.create_task(self._repeat(self.report_s, self._report)),
            ]
            try:
                await self._consume()
            finally:
                self._stopping.set()
                await asyncio.gather(*beside)  # neither is cut off in the middle of its work
        finally:
            await self.source.close()
        await self._close()
        log.info("stream %s: stopped after %d messages", self.source.name, self._handled)

    async def _consume(self) -> None:
        while not self._stopping.is_set():
            try:
                entries = await self._patiently(self._gather)
                if entries:
                    await self._process(entries)
            except Stopped:  # nothing of the batch is acknowledged; all of it comes again
                return

    async def _gather(self) -> list[Entry]:
        entries = await self.source.read(self.most_entries, self.wait_s)
        if 0 < len(entries) < self.most_entries and self.gather_s:
            await asyncio.sleep(self.gather_s)
            try:
                entries += await self.source.read(self.most_entries - len(entries), 0.0)
            except BrokerError as error:
                log.warning("%s; going on with %d entries", error, len(entries))
        return entries

    async def _process(self, entries: Sequence[Entry]) -> None:
        rows: list[dict[str, Any]] = []
        letters: list[DeadLetter] = []
        left_out = 0
        for entry in entries:
            if entry.deliveries > self.max_deliveries:
                reason = f"delivered {entry.deliveries} times, and never acknowledged"
                letters.append(DeadLetter(reason, entry.payload))
                continue
            reading = self.reader.read(entry.payload, entry.arrived)
            rows += reading.rows
            left_out += reading.left_out
            letters += [DeadLetter(reason, payload) for reason, payload in reading.refused]
        if rows:
            with self.metrics.handling.time():
                failed = await self._patient.handle(rows)
            letters += failed
            self.metrics.messages.labels("handled").inc(len(rows) - len(failed))
            self._handled += len(rows) - len(failed)
        if letters:
            await self._patiently(lambda: self.source.bury(letters))
            self.metrics.messages.labels("dead").inc(len(letters))
            name, first = self.source.name, letters[0].reason
            log.warning("stream %s: %d dead letters, the first: %s", name, len(letters), first)
        await self._patiently(lambda: self.source.acknowledge(entries))
        self.metrics.messages.labels("left_out").inc(left_out)
        self.metrics.batch.observe(len(rows))
        self.metrics.entries.inc(len(entries))
        now = time.time()
        for entry in entries:
            self.metrics.delay.observe(max(0.0, now - entry.arrived))

    async def _patiently(self, what: Callable[[], Any]) -> Any:
        """Again and again until the broker answers: going on would skip what it does not know."""
        pause = Pause(self.backoff_s, self.longest_backoff_s, self._stopping)
        while True:
            try:
                return await what()
            except BrokerError as error:
                self.metrics.failures.labels("broker").inc()
                log.warning("%s", error)
                await pause.wait()

    async def _maintain(self) -> None:
        try:
            await asyncio.to_thread(self.handler.maintain)
            await self.source.tidy()
        except Exception as error:
            self.metrics.failures.labels("maintenance").inc()
            expected = isinstance(error, (BrokerError, *self.handler.outages))
            log.warning("maintenance waits: %s", error, exc_info=None if expected else error)

    async def _report(self) -> None:
        try:
            status = await self.source.status()
        except BrokerError as error:
            log.warning("no status: %s", error)
            return
        for name, value in status.items():
            self.metrics.status.labels(name).set(value)
        shown = ", ".join(f"{name} {value:g}" for name, value in status.items())
        log.info("stream %s: %d messages handled, %s", self.source.name, self._handled, shown)

    async def _repeat(self, every: float, what: Callable[[], Any]) -> None:
        while not self._stopping.is_set():
            await sleep(every, self._stopping)
            if not self._stopping.is_set():
                await what()

    async def _close(self) -> None:
        """A few attempts; what is left undone then, the next start does."""
        for attempt in range(self.attempts):
            try:
                return await asyncio.to_thread(self.handler.close)
            except Exception as error:
                if not isinstance(error, tuple(self.handler.outages)):
                    raise
                log.warning("at the end: %s", error)
                await asyncio.sleep(self.backoff_s * 2**attempt)
