"""From a user to an answer, within a deadline, whatever fails on the way.

The ladder: the slate kept for this user as now known → the pipeline → what of it works → popular
items that the filters let through. Each step down is marked in the answer and counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.gateway.cache import Cache
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.microbatch import MicroBatcher, OverloadedError
from serving.gateway.recommendations.ask import USER, Ask
from serving.gateway.recommendations.pipeline import Pipeline, Shown
from serving.gateway.recommendations.slate import Slate
from serving.gateway.recommendations.stages import Skipped, Stages
from serving.gateway.user_features import Served, UserFeatures


class Answer(NamedTuple):
    """What a user gets: a list, and where it comes from.

    `source` is model, cache, or another source's kind; `reason` says why it is not the model's.
    `ranker` is the name and version of the ranking model that put it in order, or None.
    """

    shown: Shown
    source: str
    reason: str | None
    skipped: list[Skipped]
    served: Served | None  # None: no features were read
    ranker: list[str] | None


class _Read(NamedTuple):
    """What is known of a user; `reason` why nothing is."""

    served: Served | None
    reason: str | None


class Recommender:
    """Answers for users, and for histories that callers bring.

    Args:
        version: of the main model; part of every cache key.
        fetch: at least so many items are in a slate, so that it serves any smaller n.
        deadline_s: from the call to the answer.
        deadlines: seconds of the stages; see `Stages`.
    """

    def __init__(
        self,
        features: UserFeatures,
        pipeline: Pipeline,
        cache: Cache,
        metrics: GatewayMetrics,
        version: str,
        fetch: int,
        deadline_s: float,
        deadlines: Mapping[str, float],
        max_batch: int,
        max_queue: int,
    ) -> None:
        self.features = features
        self.pipeline = pipeline
        self.cache = cache
        self.metrics = metrics
        self.version = version
        self.fetch = fetch
        self.deadline_s = deadline_s
        self.deadlines = deadlines
        # What parts of the pipeline read of a user beside the history.
        self._profile = [n for n in pipeline.user_features if n != features.history]
        self._read = MicroBatcher[str, "Served | None"](self._read_batch, max_batch, max_queue)
        self._under_way: dict[str, asyncio.Task[Slate]] = {}

    def stages(self) -> Stages:
        """Those of a new answer."""
        return Stages(self.pipeline.metrics, self.deadlines, time.perf_counter() + self.deadline_s)

    async def for_user(self, user: str, n: int, context: Mapping[str, Any]) -> Answer:
        """The best `n` items for a user; never raises for what fails behind the gateway.

        Raises:
            OverloadedError: too many are waiting already.
        """
        stages = self.stages()
        served, reason = await self._user(user, stages)
        history = served.history if served is not None else []
        ask = Ask(user, history, n, served=served, context=context)
        key = f"{self.version}:{max(n, self.fetch)}:{user}"
        kept = await self.cache.get(key)
        version = _version(ask, self._profile)
        if kept is not None and (kept.version == version or reason is not None):
            # What was kept for an unreadable history is better than nothing of one's own.
            self.metrics.cache.labels("hit").inc()
            slate = kept._replace(kind="cache", reason=reason or kept.reason)
            return await self._answer(slate, ask, stages)
        self.metrics.cache.labels("miss").inc()
        slate = await self._shared(key, version, ask, stages)
        if reason is not None:
            slate = slate._replace(reason=reason)
        elif slate.kind == "model" and not slate.skipped:
            await self.cache.put(key, slate)
        return await self._answer(slate, ask, stages)

    async def for_history(
        self,
        history: list[str],
        n: int,
        context: Mapping[str, Any],
        *,
        purpose: str = USER,
        user: str | None = None,
        hide: bool = False,
    ) -> Answer:
        """The best `n` items after a history that the caller knows, an anonymous session's say.

        Args:
            user: whose own history lies before it.
            hide: whether the items of `history` are left out of answers whatever the filters say.
        """
        stages = self.stages()
        served = self.features.brought(history)
        before: list[str] = []
        if user is not None:
            own, _ = await self._user(user, stages)
            before, served = (own.history, own) if own is not None else (before, served)
        ask = Ask(
            user,
            [*before, *history],
            n,
            purpose,
            served,
            context,
            frozenset(history) if hide else frozenset(),
            history,
        )
        slate = await self.pipeline.prepare(ask, max(n, self.fetch), "", stages)
        return await self._answer(slate, ask, stages)

    async def _user(self, user: str, stages: Stages) -> _Read:
        """The user's features.

        Raises:
            OverloadedError: too many are waiting already.
        """
        if self._read.waiting >= self._read.max_queue:
            raise OverloadedError(f"{self._read.max_queue} queries are waiting")
        nothing: Served | None = Served([], {}, None)
        served = await stages.run("features", lambda: self._read.submit(user), nothing)
        if served is nothing:
            return _Read(None, _feature_reason(stages.skipped[-1].reason))
        return _Read(served, None)

    async def _shared(self, key: str, version: str, ask: Ask, stages: Stages) -> Slate:
        """All who ask the same at the same time wait for one computation."""
        name = f"{key}:{version}"
        task = self._under_way.get(name)
        if task is None:
            k = max(ask.n, self.fetch)
            task = asyncio.create_task(self.pipeline.prepare(ask, k, version, stages))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.shield(task)

    async def _answer(self, slate: Slate, ask: Ask, stages: Stages) -> Answer:
        shown = await self.pipeline.finish(slate, ask, stages)
        reason = slate.reason
        if not shown.items and slate.items:
            reason = "all_filtered"
        if reason is not None:
            self.metrics.fallbacks.labels(reason).inc()
        skipped = list(dict.fromkeys(Skipped(*s) for s in [*slate.skipped, *stages.skipped]))
        return Answer(shown, slate.kind, reason, skipped, ask.served, slate.ranker)

    async def _read_batch(self, users: list[str]) -> Sequence[Served | None]:
        started = time.perf_counter()
        found = await self.features.read(users)
        self.metrics.stage.labels("features").observe(time.perf_counter() - started)
        self.metrics.batch.labels("features").observe(len(users))
        return found


def _feature_reason(skipped: str) -> str:
    return "deadline" if skipped == "deadline" else "features_unavailable"


def _version(ask: Ask, profile: Sequence[str]) -> str:
    """Of all that a slate follows: history, what is known of the user, and what the caller says."""
    said = (f"{name}={ask.context[name]}" for name in sorted(ask.context))
    known = (repr(ask.feature(name)) for name in profile)  # 30 and "30" are two answers
    text = "\x1e".join("\x1f".join(part) for part in (ask.history, known, said))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
