"""Everything that recommendations need, built from the configuration and the artifacts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from serving.gateway.cache import Cache
from serving.gateway.questions import Limits
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.diversity.unchanged import Unchanged
from serving.gateway.recommendations.exploration.greedy import Greedy
from serving.gateway.recommendations.onboarding import Onboarding
from serving.gateway.recommendations.pipeline import Pipeline
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.rankers.blended import Blended
from serving.gateway.recommendations.rankers.model import ModelRanker
from serving.gateway.recommendations.reasons import Reasons
from serving.gateway.recommendations.recommender import Recommender
from serving.gateway.recommendations.resources import Resources
from serving.gateway.recommendations.sources.model import ModelSource
from serving.gateway.recommendations.stages import Skipped, StageMetrics
from serving.gateway.user_features import UserFeatures

log = logging.getLogger(__name__)

MAIN = "recommender"  # the use of the artifact that the others go with


class Listed(NamedTuple):
    """Items that are the same for all callers; `reason` says why there are none."""

    pool: Pool
    skipped: list[Skipped]
    reason: str | None


class Recommendations:
    """The recommender, and what answers beside it: similar items, trending, onboarding.

    A part whose needs are not met, such as a view that the store does not have, is left out; the
    log says which and why.

    Args:
        config: the `gateway` node.
        limits: of questions.
        keep_given: whether answers have what the ranker was asked with, for the prediction log.

    Raises:
        StoreError: not the model's feature service in the store.
    """

    def __init__(
        self,
        config: DictConfig,
        resources: Resources,
        cache: Cache,
        limits: Limits,
        keep_given: bool = False,
    ) -> None:
        own = config.recommendations
        signature = resources.artifact(MAIN).signature
        self.name, self.version = signature.name, signature.version
        self.limits = limits
        self.cache = cache
        trending = _made("trending", own.trending, resources)
        if trending is not None:
            resources = dataclasses.replace(resources, trending=trending)
        self.resources = resources
        self.pipeline = Pipeline(
            features=resources.features,
            sources=_all("candidates", own.candidates, resources),
            weights={purpose: dict(given) for purpose, given in own.weights.items()},
            filters=_all("filters", own.filters, resources),
            ranker=_made("ranker", own.ranker, resources) or Blended(resources),
            diversity=_made("diversity", own.diversity, resources) or Unchanged(resources),
            exploration=_made("exploration", own.exploration, resources) or Greedy(resources),
            reasons=_reasons(own.reasons, resources),
            popular=resources.popular,
            most=own.max_candidates,
            metrics=StageMetrics(resources.metrics),
            keep_given=keep_given,
        )
        self.recommender = Recommender(
            features=UserFeatures(
                resources.features, str(signature.feature_service), self.pipeline.user_features
            ),
            pipeline=self.pipeline,
            cache=cache,
            metrics=resources.metrics,
            version=signature.version,
            fetch=min(config.fetch, limits.max_n),
            deadline_s=config.deadline_ms / 1000,
            deadlines={name: ms / 1000 for name, ms in own.deadlines_ms.items()},
            max_batch=config.batching.max_batch,
            max_queue=config.batching.max_queue,
        )
        self.onboarding = Onboarding(
            resources.features,
            resources.popular,
            resources.neighbours,
            _feature("onboarding", own.onboarding.by, resources),
            own.onboarding.among,
        )
        self.default_picks: int = own.onboarding.default_n

    @property
    def models(self) -> dict[str, Any]:
        """What answers from a model, by the artifact's use."""
        parts = [*self.pipeline.sources.values(), self.pipeline.ranker]
        return {part.use: part for part in parts if isinstance(part, ModelSource | ModelRanker)}

    async def open(self) -> None:
        for part in self._living():
            await part.open()

    async def close(self) -> None:
        for part in self._living():
            await part.close()
        await self.cache.close()

    async def similar(self, item: str, n: int, context: Mapping[str, Any]) -> Listed | None:
        """Items that the same users touch; None for an item that nobody knows."""
        neighbours = self.resources.neighbours
        if neighbours is None or item not in neighbours:
            return None
        found = neighbours.of_item(item)
        ranking = Ranking([i for i, _ in found], [s for _, s in found])
        pool, skipped = await self._allowed(ranking, "neighbours", n, context)
        return _listed(pool, skipped, "all_filtered" if found else "no_neighbours")

    async def trends(self, n: int, context: Mapping[str, Any]) -> Listed:
        """What is trending; filled up with popular items."""
        found = self.resources.trending.ranked()
        pool, skipped = await self._allowed(found, "trending", n, context)
        if len(pool.items) < n:
            have = set(pool.items)
            popular = self.resources.popular
            left = [p for p, item in enumerate(popular.items) if item not in have]
            rest = Ranking([popular.items[p] for p in left], [0.0] * len(left))
            more, also = await self._allowed(rest, "popular", n - len(pool.items), context)
            pool, skipped = pool.joined(more), [*skipped, *also]
        return _listed(pool, skipped)

    async def offer(self, n: int, context: Mapping[str, Any]) -> Listed:
        """Items for somebody new to pick from."""
        stages = self.recommender.stages()
        ask = Ask(None, [], n, context=context)
        pool = await self.pipeline.allowed(self.onboarding.candidates(), ask, stages)
        place = {item: p for p, item in enumerate(pool.items)}
        chosen = [place[item] for item in await self.onboarding.offer(pool, n)]
        return _listed(pool.take(chosen), stages.skipped)

    async def _allowed(
        self, ranking: Ranking, source: str, n: int, context: Mapping[str, Any]
    ) -> tuple[Pool, list[Skipped]]:
        stages = self.recommender.stages()
        ask = Ask(None, [], n, context=context)
        kept = Pool.empty()
        step = max(2 * n, 50)
        for first in range(0, len(ranking.items), step):
            items, scores = (
                ranking.items[first : first + step],
                ranking.scores[first : first + step],
            )
            some = Pool(items, scores, [(source,)] * len(items), {})
            kept = kept.joined(await self.pipeline.allowed(some, ask, stages))
            if len(kept.items) >= n:
                break
        return kept.take(range(min(n, len(kept.items)))), stages.skipped

    def _living(self) -> list[Any]:
        parts = [*self.pipeline.sources.values(), self.resources.trending]
        return [part for part in parts if hasattr(part, "open")]


def _listed(pool: Pool, skipped: list[Skipped], empty: str = "all_filtered") -> Listed:
    return Listed(pool, list(dict.fromkeys(skipped)), None if pool.items else empty)


def _made(name: str, config: DictConfig | None, resources: Resources) -> Any:
    """A part, or None where it is switched off or its needs are not met."""
    if config is None:
        return None
    make: Callable[[Resources], Any] = instantiate(config, _partial_=True)
    try:
        return make(resources)
    except AbsentError as absent:
        # A list without a source is shorter; one without a rule shows what it should not.
        level = logging.WARNING if name.startswith("filters.") else logging.INFO
        log.log(level, "recommendations go without %s: %s", name, absent)
        return None


def _all(kind: str, configs: DictConfig, resources: Resources) -> dict[str, Any]:
    made = {
        str(name): _made(f"{kind}.{name!s}", given, resources) for name, given in configs.items()
    }
    return {name: part for name, part in made.items() if part is not None}


def _feature(name: str, wanted: str | None, resources: Resources) -> str | None:
    try:
        return None if wanted is None else resources.item_feature(wanted)
    except AbsentError as absent:
        log.info("recommendations: %s goes without: %s", name, absent)
        return None


def _reasons(config: DictConfig, resources: Resources) -> Reasons:
    title = _feature("reasons", config.title, resources)
    return Reasons(resources, config.most, config.recent, title)
