"""Adaptive micro-batching: while one batch is on its way, the next one gathers.

A lone query starts at once, so nothing is added to its latency; under load, batches grow by
themselves to what arrived during the last round trip.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class OverloadedError(RuntimeError):
    """The queue is full; the caller should come back later."""


class MicroBatcher(Generic[Q, A]):
    """Collect queries for `run`, which answers a list of them in order.

    An answer that is an exception is raised to its own caller only; if `run` raises, all callers of
    that batch get the error. Queries whose callers gave up are left out.

    Args:
        max_batch: queries in one call of `run`.
        max_queue: queries waiting at most; beyond it `submit` raises `OverloadedError`.
        concurrency: calls of `run` under way at once.
    """

    def __init__(
        self,
        run: Callable[[list[Q]], Awaitable[Sequence[A | Exception]]],
        max_batch: int,
        max_queue: int,
        concurrency: int = 1,
    ) -> None:
        self._run = run
        self.max_batch = max_batch
        self.max_queue = max_queue
        self.concurrency = concurrency
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def submit(self, query: Q) -> A:
        """The answer to one query."""
        if len(self._waiting) >= self.max_queue:
            raise OverloadedError(f"{self.max_queue} queries are waiting")
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, future))
        if len(self._workers) < self.concurrency:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
        return await future

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            # In the same step that found nothing waiting: a callback would run a step later, and a
            # query that came in between would count on a worker that is gone, and wait for ever.
            task = asyncio.current_task()
            assert task is not None, "this runs as a task"
            self._workers.discard(task)

    async def _answer(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._run([query for query, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(batch) < self.max_batch:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch
