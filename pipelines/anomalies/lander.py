"""Lands partitions beside the batches: files are written in a thread while events are scored.

One partition at a time, and the store is told between two batches, once its files are there:

1. `Workload.landing`: what has been committed of a partition, and its state as of then.
2. `Workload.write`, in a thread: the files.
3. `Workload.finish`: the state to the store, the journal away.
4. `Workload.merge`, in a thread: small files become large ones.

A crash before 3 leaves files that the heir's first landing contains. Whatever fails is begun again
with what has come meanwhile. Where files are written more slowly than events come, the
processor waits once `Workload.full`, and the broker holds what comes.
"""

from __future__ import annotations

import asyncio
import contextlib

from pipelines.anomalies.commits import OUTAGES
from pipelines.anomalies.workload import Landing, Workload


class Lander:
    """Methods are called one at a time, and never beside a call of the workload's others.

    They raise `OUTAGES` where the warehouse or the store is away or full; call them again.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._writing: tuple[Landing, asyncio.Task[bytes]] | None = None
        self._merging: asyncio.Task[None] | None = None

    async def step(self) -> None:
        """Whatever need not wait for the thread; waits for it if too much has come."""
        while True:
            beside = self._writing[1] if self._writing else self._merging
            if beside is None:
                landing = await asyncio.to_thread(self._workload.landing_due)
                if landing is None:
                    return
                task = asyncio.create_task(asyncio.to_thread(self._workload.write, landing))
                self._writing = landing, task
            elif beside.done() or self._workload.full():
                await self._settle()
            else:
                return

    async def drain(self) -> None:
        """Until nothing is written."""
        while self._writing or self._merging:
            await self._settle()

    async def close(self) -> None:
        """Until the thread is idle, whatever became of its work: the next owner does it again."""
        beside = [self._writing[1] if self._writing else None, self._merging]
        self._writing = self._merging = None
        for task in filter(None, beside):
            with contextlib.suppress(*OUTAGES):
                await task

    async def _settle(self) -> None:
        if self._writing is not None:
            landing, task = self._writing
            try:
                state = await task
            except BaseException:
                self._writing = None  # to be begun again
                raise
            await asyncio.to_thread(self._workload.finish, landing, state)
            self._writing = None
            merge = asyncio.to_thread(self._workload.merge, landing.partition)
            self._merging = asyncio.create_task(merge)
        elif self._merging is not None:
            merging, self._merging = self._merging, None
            await merging
