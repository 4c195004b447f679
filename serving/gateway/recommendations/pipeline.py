"""The stages in their order: candidates → filters → ranker → diversity, then exploration → reasons.

What comes out of the first four is a `Slate`, which may be kept. Filters run again on what was
kept: stock and rules change while a slate does not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from serving.features.client import FeatureClient
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.diversity import Diversity
from serving.gateway.recommendations.exploration import Choice, Exploration
from serving.gateway.recommendations.filters import Filter
from serving.gateway.recommendations.pool import Pool, blend
from serving.gateway.recommendations.rankers import Ranker
from serving.gateway.recommendations.rankers.ranked import Given, Ranked, given_of
from serving.gateway.recommendations.reasons import Reason, Reasons
from serving.gateway.recommendations.slate import Slate
from serving.gateway.recommendations.sources import Source
from serving.gateway.recommendations.stages import StageMetrics, Stages

T = TypeVar("T")

_CHUNK = 100  # popular items looked at together when a list is to be filled up


class Shown(NamedTuple):
    """What an answer holds, column by column."""

    items: list[str]
    scores: list[float]
    sources: list[tuple[str, ...]]
    reasons: list[list[Reason]]
    propensities: list[float]
    policy: str
    given: Given | None  # what the ranker was asked with about them, where that is kept


class Pipeline:
    """Runs the parts that the configuration names.

    Args:
        sources: by name, in the order that breaks ties.
        weights: purpose → source → its weight; a source that is not named is not asked.
        filters: by name, in the order they are applied.
        popular: fills up what filters leave too short.
        most: candidates that go on from the sources.
        keep_given: whether slates keep what the ranker was asked with, for the prediction log.
    """

    def __init__(
        self,
        features: FeatureClient,
        sources: Mapping[str, Source],
        weights: Mapping[str, Mapping[str, float]],
        filters: Mapping[str, Filter],
        ranker: Ranker,
        diversity: Diversity,
        exploration: Exploration,
        reasons: Reasons,
        popular: Ranking,
        most: int,
        metrics: StageMetrics,
        keep_given: bool = False,
    ) -> None:
        self.features = features
        self.sources = sources
        self.weights = {
            purpose: {name: given[name] for name in sources if given.get(name) is not None}
            for purpose, given in weights.items()
        }
        self.filters = filters
        self.ranker = ranker
        self.diversity = diversity
        self.exploration = exploration
        self.reasons = reasons
        self.popular = popular
        self.most = most
        self.metrics = metrics
        self.keep_given = keep_given
        judged = [f.attributes for f in filters.values()]
        self.filtering = _distinct(*judged, exploration.attributes)
        self.attributes = _distinct(self.filtering, ranker.attributes, diversity.attributes)
        self.user_features = _distinct(
            ranker.user_features,
            *(f.user_features for f in filters.values()),
            *(getattr(s, "user_features", ()) for s in sources.values()),
        )
        self.random = random.Random()

    async def prepare(self, ask: Ask, k: int, version: str, stages: Stages) -> Slate:
        """The best `k` candidates; fewer, or none, where filters leave no more."""
        pool, kind, reason = await self._candidates(ask, stages)
        proposed = bool(pool.items)
        pool = await self._filtered(pool, ask, stages, self.attributes)
        if len(pool.items) < ask.n:
            pool = await self._filled_up(pool, ask, stages)
        if proposed and not pool.items:
            reason = "all_filtered"
        nothing = Ranked([])
        ranked = await stages.run("ranker", lambda: self.ranker.rank(pool, ask), nothing)
        ranked_by = self.ranker.model if ranked.scores else None
        if ranked.scores and ranked.scores is not pool.scores:
            pool = pool.scored(ranked.scores)
        order = await stages.run(
            "diversity", _later(self.diversity.arrange, pool, k), list(range(k))
        )
        best = pool.take([p for p in order if p < len(pool.items)][:k])
        sources = [list(s) for s in best.sources]
        skipped: list[tuple[str, str]] = list(stages.skipped)
        given = given_of(ranked.given, best.items) if self.keep_given else None
        return Slate(
            version, best.items, best.scores, sources, kind, reason, skipped, ranked_by, given
        )

    async def finish(self, slate: Slate, ask: Ask, stages: Stages) -> Shown:
        """Of a slate, what is shown this time, and why."""
        pool = await self._filtered(slate.pool(), ask, stages, self.filtering)
        if len(pool.items) < ask.n and len(pool.items) < len(slate.items):
            pool = await self._filled_up(pool, ask, stages)
        size = min(ask.n, len(pool.items))
        policy = self.exploration.policy
        chosen = await stages.run(
            "exploration",
            _later(self.exploration.choose, pool, ask.n, self.random),
            None,
        )
        if chosen is None:
            policy, chosen = "greedy", Choice(list(range(size)), [1.0] * size)
        shown = pool.take(chosen.places)
        unexplained: list[list[Reason]] = [[] for _ in shown.items]
        kinds = {name: source.kind for name, source in self.sources.items()}
        reasons = await stages.run(
            "reasons", lambda: self.reasons.explain(shown, ask, kinds), unexplained
        )
        for sources in shown.sources:
            self.metrics.shown.labels(sources[0]).inc()
        given = given_of(slate.given, shown.items)
        return Shown(
            shown.items, shown.scores, shown.sources, reasons, chosen.propensities, policy, given
        )

    async def allowed(self, pool: Pool, ask: Ask, stages: Stages) -> Pool:
        """What the filters leave of a pool that comes from elsewhere."""
        return await self._filtered(pool, ask, stages, self.filtering)

    async def _candidates(self, ask: Ask, stages: Stages) -> tuple[Pool, str, str | None]:
        """The blend of what the sources propose, whose it mainly is, and what the model says if it
        is not the model's."""
        weights = self.weights[ask.purpose]
        found = await asyncio.gather(*(self._propose(name, ask, stages) for name in weights))
        proposed = {
            name: part
            for name, part in zip(weights, found, strict=True)
            if isinstance(part, Ranking) and part.items
        }
        for name in list(proposed):
            if getattr(self.sources[name], "stands_in_for", None) in proposed:
                del proposed[name]
        leading = [name for name in weights if self.sources[name].kind == "model"]
        if not leading:  # lists made beforehand take the model's place
            leading = [name for name in weights if self.sources[name].kind == "precomputed"]
        reason = None
        if leading and not any(name in proposed for name in leading):
            reasons = dict(zip(weights, found, strict=True))
            said = reasons[leading[0]]
            reason = said if isinstance(said, str) else "nothing"
        main = max(proposed, key=lambda name: weights[name], default=None)
        kind = self.sources[main].kind if main is not None else "popular"
        return blend(proposed, weights, self.most), kind, reason

    async def _propose(self, name: str, ask: Ask, stages: Stages) -> Ranking | str:
        """A source's candidates, or the reason why there are none."""
        stage = f"candidates.{name}"
        try:
            found = await stages.run(stage, lambda: self.sources[name].propose(ask), None)
        except NothingError as nothing:
            return str(nothing)
        if found is not None:
            return found
        return next(s.reason for s in reversed(stages.skipped) if s.stage == stage)

    async def _filtered(
        self, pool: Pool, ask: Ask, stages: Stages, attributes: tuple[str, ...]
    ) -> Pool:
        """Without what may not be shown, and with the attributes of what is left."""
        if attributes and pool.items:
            bare = pool
            pool = await stages.run("attributes", lambda: self._read(bare, attributes), bare)
        for name, part in self.filters.items():
            before = pool
            mask = await stages.run(
                f"filters.{name}",
                _later(part.keep, before, ask),
                None,
            )
            if mask is None or all(mask):
                continue
            if part.relax and not any(mask):
                stages.skip(f"filters.{name}", "would_leave_nothing")
                continue
            pool = before.having(mask)
            self.metrics.filtered.labels(name).inc(len(before.items) - len(pool.items))
        return pool

    async def _filled_up(self, pool: Pool, ask: Ask, stages: Stages) -> Pool:
        """With popular items after it, as many as are wanted and the filters let through."""
        have = set(pool.items)
        rest = [item for item in self.popular.items if item not in have]
        quiet = Stages(self.metrics, stages.deadlines, stages.until)  # said once is enough
        for first in range(0, len(rest), _CHUNK):
            some = rest[first : first + _CHUNK]
            more = Pool(some, [0.0] * len(some), [("popular",)] * len(some), {})
            pool = pool.joined(await self._filtered(more, ask, quiet, self.attributes))
            if len(pool.items) >= ask.n:
                break
        return pool

    async def _read(self, pool: Pool, attributes: tuple[str, ...]) -> Pool:
        read = await self.features.read(attributes, {"item_id": pool.items})
        return pool._replace(attributes=dict(zip(read.names, read.values, strict=True)))


def _later(work: Callable[..., T], *arguments: Any) -> Callable[[], Awaitable[T]]:
    """Work of this process, as something that a stage starts and awaits."""

    async def later() -> T:
        return work(*arguments)

    return later


def _distinct(*names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in names for name in part))
