"""Pushed rows on their way to the store: a bounded queue before one worker of its own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import Any

from feature_repo.gateway_pushes import Outcome, Terms, push
from feature_repo.store import StoreError
from serving.gateway.problems import Problem

log = logging.getLogger(__name__)


class Pushes:
    """Hands rows to `feature_repo.gateway_pushes.push`, in order.

    Args:
        folder: of the feature store.
        make_executor: gives the worker; a process keeps conversion away from those who read.
        max_waiting: pushes not done yet; one more gets 429.
        max_rows: in one push.
        max_ahead_s: a moment further in the future is refused.
    """

    def __init__(
        self,
        folder: str | Path,
        make_executor: Callable[[], Executor],
        max_waiting: int,
        max_rows: int,
        max_ahead_s: float,
    ) -> None:
        self.folder = str(Path(folder).resolve())
        self.max_waiting = max_waiting
        self.max_rows = max_rows
        self.max_ahead_s = max_ahead_s
        self._make = make_executor
        self._executor: Executor | None = None
        self.waiting = 0

    async def push(self, view: str, rows: Sequence[Any], terms: Terms) -> Outcome:
        """Write rows of a view.

        Raises:
            Problem: 422 too many rows, 429 too many pushes, 503 the worker or the store failed.
        """
        if not 1 <= len(rows) <= self.max_rows:
            raise Problem(
                422,
                "invalid-rows",
                f"there are {len(rows)} rows",
                accepted=f"1 to {self.max_rows} rows in one push",
            )
        terms = terms._replace(max_ahead_s=self.max_ahead_s)
        outcome: Outcome = await self.run(push, self.folder, view, list(rows), terms)
        return outcome

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Something else of the store's, in the same worker and the same queue.

        Raises:
            Problem: 429 or 503.
        """
        if self.waiting >= self.max_waiting:
            raise Problem(
                429,
                "too-many-pushes",
                f"{self.waiting} pushes are waiting already; try again in a second",
                {"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        try:
            work = self._worker().submit(function, *arguments)
            # A caller may go away; its push counts until it is done.
            self.waiting += 1
            work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
            return await asyncio.wrap_future(work)
        except BrokenExecutor as error:
            log.warning("the push worker died; the next push starts another")
            self._executor = None
            raise _unavailable("the worker died; what was pushed may be sent again") from error
        except StoreError as error:
            log.warning("push failed: %s", error)
            if error.exit_code == os.EX_UNAVAILABLE:  # the online store, named as reads name it
                raise _unavailable(str(error)) from error
            raise _unavailable("the feature store did not take it") from error
        except Exception as error:  # whatever the store's own client raises
            log.exception("push failed")
            raise _unavailable("the feature store failed") from error

    def _done(self) -> None:
        self.waiting -= 1

    def _worker(self) -> Executor:
        if self._executor is None:
            self._executor = self._make()
        return self._executor

    async def close(self) -> None:
        """Let what is under way be written."""
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown, wait=True)


def _unavailable(text: str) -> Problem:
    return Problem(503, "store-unavailable", text, {"Retry-After": "1"})
