"""From a user to a ranked list, within a deadline, whatever fails on the way.

The ladder: cache → history and model → popular items. Each step down is marked in the answer and
counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from serving.features.errors import FeaturesUnavailableError
from serving.gateway.breaker import Breaker
from serving.gateway.cache import Cache
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.microbatch import MicroBatcher, OverloadedError
from serving.gateway.model import NotAnswerableError, Question, RankingModel
from serving.gateway.ranking import Ranking
from serving.gateway.torchserve import ModelUnavailableError
from serving.gateway.user_features import Served, UserFeatures

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a user gets: a list, and where it comes from.

    `source` is model, cache or popular; `reason` says why it is not the model's.
    """

    ranking: Ranking
    source: str
    reason: str | None
    served: Served | None  # None: no features were read


class Recommender:
    """Answers for users and for bare histories.

    Args:
        popular: the fallback, best first.
        version: of the model; part of every cache key.
        max_history: items of a history that the model reads.
        fetch: at least so many items are asked of the model, so that a cached list serves any
            smaller n.
        deadline_s: from the call to the answer.
    """

    def __init__(
        self,
        features: UserFeatures,
        model: RankingModel,
        cache: Cache,
        breaker: Breaker,
        metrics: GatewayMetrics,
        popular: Ranking,
        version: str,
        max_history: int,
        fetch: int,
        deadline_s: float,
        max_batch: int,
        max_queue: int,
        model_concurrency: int,
    ) -> None:
        self.features = features
        self.model = model
        self.cache = cache
        self.breaker = breaker
        self.metrics = metrics
        self.popular = popular
        self.version = version
        self.max_history = max_history
        self.fetch = fetch
        self.deadline_s = deadline_s
        self._read = MicroBatcher[str, "Served | None"](self._read_batch, max_batch, max_queue)
        self._rank = MicroBatcher[Question, Ranking](
            self._rank_batch, max_batch, max_queue, model_concurrency
        )
        self._under_way: dict[str, asyncio.Task[Answer]] = {}

    async def for_user(self, user: str, n: int) -> Answer:
        """The best `n` items for a user; never raises for what fails behind the gateway.

        Raises:
            OverloadedError: too many are waiting already.
        """
        k = max(n, self.fetch)
        key = f"{self.version}:{k}:{user}"
        cached = await self.cache.get(key)
        if cached is not None:
            self.metrics.cache.labels("hit").inc()
            return Answer(cached.top(n), "cache", None, None)
        self.metrics.cache.labels("miss").inc()
        task = self._under_way.get(key)
        if task is None:  # all who ask the same at the same time wait for one computation
            task = asyncio.create_task(self._compute(user, k, key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await self._in_time(task, n)

    async def for_history(self, history: list[str], n: int) -> Answer:
        """The best `n` items after a history that the caller knows, an anonymous session's say."""
        task = asyncio.create_task(
            self._rank_after(self.features.brought(history), max(n, self.fetch))
        )
        return await self._in_time(task, n)

    async def _in_time(self, task: asyncio.Task[Answer], n: int) -> Answer:
        try:
            async with asyncio.timeout(self.deadline_s):
                answer = await asyncio.shield(task)
        except TimeoutError:
            answer = self._fallback("deadline", None)
        return answer._replace(ranking=answer.ranking.top(n))

    async def _compute(self, user: str, k: int, key: str) -> Answer:
        try:
            served = await self._read.submit(user)
        except OverloadedError:
            raise
        except FeaturesUnavailableError as error:
            log.warning("features unavailable: %s", error)
            return self._fallback("features_unavailable", None)
        except Exception:
            log.exception("features unavailable")
            return self._fallback("features_unavailable", None)
        if served is None or not served.history:
            return self._fallback("unknown_user", None)
        answer = await self._rank_after(served, k)
        if answer.source == "model":
            await self.cache.put(key, answer.ranking)
        return answer

    async def _rank_after(self, served: Served, k: int) -> Answer:
        if not self.breaker.allow():
            return self._fallback("model_unavailable", served)
        try:
            ranking = await self._rank.submit(Question(served.history[-self.max_history :], k))
        except NotAnswerableError:
            return self._fallback("no_known_items", served)
        except ModelUnavailableError:
            return self._fallback("model_unavailable", served)
        return Answer(ranking, "model", None, served)

    def _fallback(self, reason: str, served: Served | None) -> Answer:
        self.metrics.fallbacks.labels(reason).inc()
        seen = set(served.history) if served is not None else set()
        return Answer(self.popular.without(seen), "popular", reason, served)

    async def _read_batch(self, users: list[str]) -> Sequence[Served | None]:
        started = time.perf_counter()
        found = await self.features.read(users)
        self._observe("features", len(users), started)
        return found

    async def _rank_batch(self, questions: list[Question]) -> Sequence[Ranking | Exception]:
        started = time.perf_counter()
        try:
            answers = await self.model.rank(questions)
        except ModelUnavailableError as error:
            log.warning("model unavailable for %d questions: %s", len(questions), error)
            self.breaker.failure()
            raise
        finally:
            self.metrics.breaker_open.set(self.breaker.state != "closed")
            self._observe("inference", len(questions), started)
        self.breaker.success()
        self.metrics.breaker_open.set(0)
        return answers

    def _observe(self, stage: str, size: int, started: float) -> None:
        self.metrics.stage.labels(stage).observe(time.perf_counter() - started)
        self.metrics.batch.labels(stage).observe(size)
