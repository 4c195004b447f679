"""A ranking model behind TorchServe: what is known of user and candidates in, scores out.

The artifact's `assets/fields.json` names the model's fields: each has a `side` (user, item, pair)
and the feature of the store it comes from. One instance a question:

    {"user": {field: value, …}, "items": {field: [value of each candidate], …}}

is answered by `{"scores": [number, …]}`. A missing value is null. Fields of pairs are computed at
the request, by the store's own on-demand views, from what is read of user and candidates anyway.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from serving.features.errors import UnknownNameError
from serving.features.on_demand import find
from serving.gateway.microbatch import MicroBatcher
from serving.gateway.recommendations.absent import AbsentError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.rankers.ranked import Ranked
from serving.gateway.recommendations.resources import Resources
from serving.gateway.torchserve import ModelUnavailableError

log = logging.getLogger(__name__)

Instance = dict[str, dict[str, Any]]


class RankingRefusedError(RuntimeError):
    """The model cannot score this question, or does not score every candidate."""


class ModelRanker:
    """Scores the candidates of several questions in one request.

    Args:
        artifact: its use: which of the served artifacts.
        sent: column that an on-demand view takes from callers → the item's feature that is it.

    Raises:
        AbsentError: no artifact is served for this use.
        UnknownNameError: the store does not have one of the model's features, or no longer.
    """

    def __init__(self, resources: Resources, artifact: str, sent: Mapping[str, str]) -> None:
        self.use = artifact
        loaded = resources.artifact(artifact)
        self.torchserve = resources.torchserve
        self.name = loaded.signature.name
        self.version = loaded.signature.version
        self.model = [self.name, self.version]
        self.most = int(loaded.signature.limits["candidates"])
        self.breaker = resources.breaker()
        self.metrics = resources.metrics
        fields = loaded.read_asset("fields.json")["fields"]
        by_side: dict[str, dict[str, str]] = {"user": {}, "item": {}, "pair": {}}
        for field in fields:
            if field["feature"] is not None:
                _require(resources, field["feature"])
                by_side[field["side"]][field["name"]] = field["feature"]
        self.of_user, self.of_item, self.of_pair = by_side.values()
        views = dict.fromkeys(f.partition(":")[0] for f in self.of_pair.values())
        self.computed = [find(resources.features.catalog.view(name)) for name in views]
        inputs = dict.fromkeys(name for made in self.computed for name in made.inputs)
        of_items = [name for name in inputs if resources.is_of_items(name)]
        self.user_inputs = [resources.user_feature(n) for n in inputs if n not in of_items]
        self.item_inputs = [resources.item_feature(n) for n in of_items]
        taken = [name for made in self.computed for name in made.sent]
        lacking = [name for name in taken if name not in sent]
        if lacking:
            raise AbsentError(f"ranker.sent says of no item's feature that it is {lacking[0]!r}")
        self.sent = {name: resources.item_feature(sent[name]) for name in taken}
        self.attributes = tuple(
            dict.fromkeys([*self.of_item.values(), *self.item_inputs, *self.sent.values()])
        )
        self.user_features = tuple(dict.fromkeys([*self.of_user.values(), *self.user_inputs]))
        self._batcher = MicroBatcher[Instance, list[float]](
            self._score, resources.max_batch, resources.max_queue, resources.model_concurrency
        )

    async def rank(self, pool: Pool, ask: Ask) -> Ranked:
        """Candidates that are more than the model takes come last, as they stood."""
        if not pool.items:
            return Ranked([])
        if not self.breaker.allow():
            raise ModelUnavailableError("it has just failed several times")
        some = pool.take(range(min(self.most, len(pool.items))))
        asked = self._instance(some, ask)
        scores = await self._batcher.submit(asked)
        if len(scores) != len(some.items):
            raise RankingRefusedError(f"{len(scores)} scores for {len(some.items)} candidates")
        lowest = min(scores)
        last = [lowest - 1 - n for n in range(len(pool.items) - len(scores))]
        return Ranked([*scores, *last], asked)

    def _instance(self, pool: Pool, ask: Ask) -> Instance:
        user = {name: ask.feature(feature) for name, feature in self.of_user.items()}
        items: dict[str, Any] = {
            name: pool.column(feature) for name, feature in self.of_item.items()
        }
        pairs = self._pairs(pool, ask) if ask.user is not None else {}
        return {
            "user": {"user_id": ask.user, **user},
            "items": {"item_id": pool.items, **items, **pairs},
        }

    def _pairs(self, pool: Pool, ask: Ask) -> dict[str, Any]:
        """Fields of user and item together, as the on-demand views make them."""
        given = {name: [ask.feature(name)] * len(pool.items) for name in self.user_inputs}
        given |= {name: pool.column(name) for name in self.item_inputs}
        columns = {name.partition(":")[2]: column for name, column in given.items()}
        for name, feature in self.sent.items():
            columns[name] = pool.column(feature)
        made: dict[str, Sequence[Any]] = {}
        for view in self.computed:
            found = view.function({name: columns[name] for name in view.columns})
            made |= {f"{view.name}:{feature}": column for feature, column in found.items()}
        return {field: made[feature] for field, feature in self.of_pair.items()}

    async def _score(self, instances: list[Instance]) -> Sequence[list[float] | Exception]:
        started = time.perf_counter()
        try:
            answers = await self.torchserve.predict(self.name, instances)
        except ModelUnavailableError as error:
            log.warning("ranker unavailable for %d questions: %s", len(instances), error)
            self.breaker.failure()
            raise
        finally:
            self.metrics.stage.labels("ranking").observe(time.perf_counter() - started)
            self.metrics.batch.labels("ranking").observe(len(instances))
        self.breaker.success()
        return [_scores(answer) for answer in answers]


def _require(resources: Resources, name: str) -> None:
    """Raises `UnknownNameError` for a feature that the store does not have."""
    view_name, _, feature = name.partition(":")
    view = resources.features.catalog.view(view_name)
    if feature not in view.features:
        raise UnknownNameError(f"feature of {view_name}", feature, view.features)


def _scores(answer: dict[str, Any]) -> list[float] | Exception:
    if "error" in answer:
        return RankingRefusedError(str(answer["error"]["detail"]))
    return list(answer["scores"])
