"""The anomaly processor: read, score, judge, commit. One batch at a time.

Results, thresholds and the positions they belong to are committed in one transaction, so a
processor may be killed at any moment: whoever takes its partitions goes on from the last commit.
Files of the warehouse are written beside the batches; see `lander`.
While the broker or the store is away, or its disk is full, the processor waits and reads nothing
more: the broker holds what comes, and memory holds one batch.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import start_http_server

from pipelines.anomalies.brokers.broker import Broker, Entry
from pipelines.anomalies.commits import OUTAGES
from pipelines.anomalies.lander import Lander
from pipelines.anomalies.leases import Leases, Wanted
from pipelines.anomalies.metrics import AnomalyMetrics
from pipelines.anomalies.publisher import Publisher
from pipelines.anomalies.workload import Pending, Workload
from pipelines.streaming.attempts import Pause, Stopped, sleep
from pipelines.streaming.source import BrokerError

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Pace:
    """How often things are done, in seconds.

    Args:
        most_events: of one batch, about; bounds memory.
        batch_s: least time between the beginnings of two batches: small ones cost more an event.
        wait_s: that a read waits for a first event.
        verdicts_s, model_s: between looks at people's verdicts, and at which version is in force.
        publish_s: between looks at what is to be published.
        trim_s: between trims of what is committed.
        report_s: between lines in the log.
        backoff_s, longest_backoff_s: waits after failures, doubling.
    """

    most_events: int
    batch_s: float
    wait_s: float
    verdicts_s: float
    model_s: float
    publish_s: float
    trim_s: float
    report_s: float
    backoff_s: float
    longest_backoff_s: float


class Processor:
    """See the module."""

    def __init__(
        self,
        broker: Broker,
        workload: Workload,
        leases: Leases,
        publisher: Publisher,
        metrics: AnomalyMetrics,
        pace: Pace,
        metrics_port: int | None,
        metrics_host: str,
    ) -> None:
        self.broker = broker
        self.workload = workload
        self.leases = leases
        self.publisher = publisher
        self.metrics = metrics
        self.pace = pace
        self.metrics_port = metrics_port
        self.metrics_host = metrics_host
        self._lander = Lander(workload)
        self._stopping = asyncio.Event()
        self._wanted: Wanted | None = None
        self._handled = 0
        self._due: dict[str, float] = {}

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            BrokerError: the broker does not answer at the start.
            ArtifactError: there is no model.
        """
        asyncio.run(self._run())

    def stop(self) -> None:
        self._stopping.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        beside: list[asyncio.Task[None]] = []
        try:
            await self.broker.open()
            await asyncio.to_thread(self.workload.open)
            await asyncio.to_thread(self.leases.open)
            if self.metrics_port is not None:
                start_http_server(self.metrics_port, self.metrics_host, self.metrics.registry)
            log.info("stream %s: started as %s", self.broker.name, self.leases.name)
            beside = [
                asyncio.create_task(self._repeat(self.leases.lease_s / 5, self._look)),
                asyncio.create_task(self._repeat(self.pace.publish_s, self._publish)),
                asyncio.create_task(self._repeat(self.pace.report_s, self._report)),
            ]
            await self._consume(beside)
            await self._hand_over()
        finally:
            self._stopping.set()
            await asyncio.gather(*beside, self._lander.close(), return_exceptions=True)
            await self.broker.close()
        log.info("stream %s: stopped after %d events", self.broker.name, self._handled)

    async def _consume(self, beside: Sequence[asyncio.Task[None]]) -> None:
        while not self._stopping.is_set():
            for task in beside:
                if task.done():  # a defect: they only end when we stop
                    task.result()
            began = time.monotonic()
            try:
                await self._lease()
                if self.workload.held:
                    await self._batch()
                    await self._upkeep()
                else:
                    await sleep(self.leases.lease_s / 20, self._stopping)
            except Stopped:  # what is not committed is read again
                return
            await sleep(self.pace.batch_s - (time.monotonic() - began), self._stopping)

    async def _lease(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        for partition in wanted.lost:
            await asyncio.to_thread(self.workload.drop, partition)
        if wanted.release:
            await self._insist("store", self._lander.drain)
        for partition in wanted.release:
            if partition in self.workload.held:
                await self._insist("store", self._in_thread(self.workload.release, partition))
        for partition in wanted.take:
            if await self._insist("store", self._in_thread(self.leases.take, partition)):
                await self._insist("store", self._in_thread(self.workload.take, partition))

    async def _batch(self) -> None:
        positions = {p: h.position for p, h in self.workload.held.items()}
        pace = self.pace
        entries = await self._insist(
            "broker", lambda: self.broker.read(positions, pace.most_events, pace.wait_s)
        )
        if not entries:
            return
        now = time.time()
        with self.metrics.seconds.labels("read").time():
            events = await asyncio.to_thread(self.workload.read, entries, now)
        self.broker.sized(len(entries), len(events.source) + len(events.letters))
        with self.metrics.seconds.labels("score").time():
            pending = await asyncio.to_thread(self.workload.analyse, events, entries, now)
        await self._finish(pending, entries)
        self.workload.count(pending, events)
        self._handled += pending.findings.events

    async def _finish(self, pending: Pending, entries: Sequence[Entry]) -> None:
        letters = pending.findings.letters
        if letters:
            name = self.broker.name
            log.warning("stream %s: %d dead letters: %s", name, len(letters), letters[0].reason)
        with self.metrics.seconds.labels("commit").time():
            now = time.time()
            await self._insist("store", self._in_thread(self.workload.commit, pending, now))
        now = time.time()
        for entry in entries:
            self.metrics.delay.observe(max(0.0, now - entry.arrived))

    async def _upkeep(self) -> None:
        if self._is_due("verdicts", self.pace.verdicts_s):
            heard = await self._insist("store", self._in_thread(self.workload.hear_verdicts, 1000))
            if heard is not None:
                await self._finish(heard, [])
        if self._is_due("model", self.pace.model_s):
            await self._change_model()
        await self._insist("store", self._in_thread(self.workload.tell_thresholds, time.time()))
        await self._insist("store", self._lander.step)
        if self._is_due("trim", self.pace.trim_s):
            positions = {p: h.position for p, h in self.workload.held.items()}
            await self._insist("broker", lambda: self.broker.trim(positions))

    async def _change_model(self) -> None:
        try:
            path = await asyncio.to_thread(self.workload.changed_model)
            if path is not None:
                await self._lander.drain()
                await asyncio.to_thread(self.workload.change_model, path)
        except OUTAGES as error:
            self._failed("store", error)

    def _is_due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, float("-inf")):
            return False
        self._due[what] = now + every
        return True

    def _in_thread(self, what: Callable[..., T], *arguments: Any) -> Callable[[], Awaitable[T]]:
        return lambda: asyncio.to_thread(what, *arguments)

    async def _insist(self, part: str, what: Callable[[], Awaitable[T]]) -> T:
        """Again and again until the broker or the store lets us: going on would lose something."""
        pause = Pause(self.pace.backoff_s, self.pace.longest_backoff_s, self._stopping)
        while True:
            try:
                found = await what()
                self.metrics.blocked.set(0)
                return found
            except (BrokerError, *OUTAGES) as error:
                self.metrics.blocked.set(1)
                self._failed(part, error)
                await pause.wait()

    def _failed(self, part: str, error: Exception) -> None:
        self.metrics.failures.labels(part).inc()
        log.warning("%s: waiting, nothing is lost: %s", part, str(error).splitlines()[0])

    async def _look(self) -> None:
        try:
            self._wanted = await asyncio.to_thread(self.leases.look)
        except OUTAGES as error:
            self._failed("store", error)

    async def _publish(self) -> None:
        """The owner of partition 0 publishes; two at once would do no harm."""
        try:
            if 0 in self.workload.held:
                await self.publisher.bury()
            while 0 in self.workload.held:
                sent = await self.publisher.step()
                self.metrics.published.inc(sent)
                if not sent:
                    return
        except (BrokerError, *OUTAGES) as error:
            self._failed("topic", error)
            await sleep(self.pace.longest_backoff_s, self._stopping)

    async def _report(self) -> None:
        positions = {p: h.position for p, h in self.workload.held.items()}
        try:
            status = await self.broker.waiting(positions) if positions else {}
        except BrokerError as error:
            log.warning("no status: %s", error)
            return
        for name, value in status.items():
            self.metrics.status.labels(name).set(value)
        shown = ", ".join(f"{name} {value:g}" for name, value in status.items())
        log.info(
            "stream %s: %d events handled, partitions %s, %s",
            self.broker.name, self._handled, sorted(positions), shown or "none",
        )  # fmt: skip

    async def _repeat(self, every: float, what: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            await what()
            await sleep(every, self._stopping)

    async def _hand_over(self) -> None:
        """One attempt; what is left undone then, the next owner does."""
        try:
            await self._lander.drain()
            for partition in list(self.workload.held):
                await asyncio.to_thread(self.workload.release, partition)
            await asyncio.to_thread(self.leases.close)
            await self.publisher.bury()
        except BrokerError as error:
            self._failed("broker", error)
        except OUTAGES as error:
            self._failed("store", error)
