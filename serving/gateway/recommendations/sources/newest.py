"""Candidates that are new in the catalog, of which no model can know yet."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError, NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources

log = logging.getLogger(__name__)


class Newest:
    """The items whose row in a view is the youngest, from the feature client's memory.

    Args:
        view: its rows' moments say when an item came, as the catalog's do.
        k: candidates.
        max_age_days: an older item is not new; a catalog that came as a whole has none.
        refresh_s: how often the list is made anew.
    """

    kind = "new"

    def __init__(
        self, resources: Resources, view: str, k: int, max_age_days: float, refresh_s: float
    ) -> None:
        memory = resources.features.memory
        known = resources.features.views.get(view)
        if memory is None or known is None or known.entity not in memory.entities:
            raise AbsentError(f"view {view!r} is not in the feature client's memory")
        self.memory = memory
        self.view = view
        self.k = k
        self.max_age = timedelta(days=max_age_days)
        self.refresh_s = refresh_s
        self._newest = Ranking([], [])
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._refresh()
        self._task = asyncio.create_task(self._refresh_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def propose(self, ask: Ask) -> Ranking:
        if not self._newest.items:
            raise NothingError("nothing_new")
        return self._newest

    async def _refresh(self) -> None:
        since = datetime.now(UTC) - self.max_age
        found = await asyncio.to_thread(self.memory.newest, self.view, since, self.k)
        self._newest = Ranking([i for i, _ in found], [t.timestamp() for _, t in found])

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            try:
                await self._refresh()
            except Exception:  # a defect must not end the refreshes
                log.exception("the newest items were not refreshed")
