"""Trending by counts over windows of days, as the feature store has them in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError
from serving.gateway.recommendations.resources import Resources

log = logging.getLogger(__name__)


class WindowedCounts:
    """Each event counts ½ ^ (its age / half-life).

    Of an event is known only in which windows it lies; its age is taken for the middle of the days
    between the longest window that lacks it and the shortest one that has it.

    Args:
        windows: days → the item's feature that counts so many last days.
        half_life_days: after which an event counts half.
        k: items kept.
        refresh_s: how often they are ranked anew.
    """

    def __init__(
        self,
        resources: Resources,
        windows: Mapping[int, str],
        half_life_days: float,
        k: int,
        refresh_s: float,
    ) -> None:
        days = sorted(windows)
        self.names = [resources.item_feature(windows[d]) for d in days]
        memory = resources.features.memory
        entity = resources.features.views[self.names[0].partition(":")[0]].entity
        if memory is None or entity not in memory.entities:
            raise AbsentError(f"features of {entity} are not in the feature client's memory")
        self.memory = memory
        self.weights = [
            0.5 ** ((first + last) / 2 / half_life_days) for first, last in pairwise([0, *days])
        ]
        self.k = k
        self.refresh_s = refresh_s
        self._ranked = Ranking([], [])
        self._task: asyncio.Task[None] | None = None

    def ranked(self) -> Ranking:
        return self._ranked

    async def open(self) -> None:
        await self._refresh()
        self._task = asyncio.create_task(self._refresh_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self) -> None:
        self._ranked = await asyncio.to_thread(self._rank)

    def _rank(self) -> Ranking:
        items, columns = self.memory.columns(self.names)
        counts = np.array([[v or 0 for v in c] for c in columns], dtype=np.float64)  # [W, V]
        if not items:
            return Ranking([], [])
        between = np.diff(counts, axis=0, prepend=0.0)  # of the days that a window adds
        scores = np.asarray(self.weights) @ np.maximum(between, 0.0)
        best = [p for p in np.argsort(-scores, kind="stable")[: self.k].tolist() if scores[p] > 0]
        return Ranking([items[p] for p in best], [float(scores[p]) for p in best])

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            try:
                await self._refresh()
            except Exception:  # a defect must not end the refreshes
                log.exception("trending items were not refreshed")
