"""Candidates of a model behind TorchServe: any artifact that takes a history and answers items.

A two-tower model may read what is known of the user too: its `assets/user_fields.json` names the
fields and the features of the store that they are. Where the store has no such feature, or nothing
of a user, the value is missing, and the model answers without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from models.artifact import Artifact
from serving.gateway.microbatch import MicroBatcher
from serving.gateway.model import NotAnswerableError, Question, RankingModel
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError, NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources
from serving.gateway.torchserve import ModelUnavailableError

log = logging.getLogger(__name__)

USER_FIELDS = "user_fields.json"  # the asset that names what a model reads of users


class ModelSource:
    """Asks a recommender, many histories in one request.

    Args:
        artifact: its use: which of the served artifacts.
        k: candidates, at most as many as its graph answers.
    """

    kind = "model"

    def __init__(self, resources: Resources, artifact: str, k: int) -> None:
        self.use = artifact
        loaded = resources.artifact(artifact)
        signature = loaded.signature
        self.model = RankingModel(resources.torchserve, signature.name)
        self.version = signature.version
        self.k = min(k, signature.limits["k"])
        self.of_user = _user_features(resources, loaded)
        self.user_features = tuple(dict.fromkeys(self.of_user.values()))
        self.breaker = resources.breaker()
        self.metrics = resources.metrics
        self._batcher = MicroBatcher[Question, Ranking](
            self._rank, resources.max_batch, resources.max_queue, resources.model_concurrency
        )

    async def propose(self, ask: Ask) -> Ranking:
        if not ask.history:
            raise NothingError("unknown_user")
        if not self.breaker.allow():
            raise ModelUnavailableError("it has just failed several times")
        try:
            # The whole history: what lies before the items that the model reads is seen too.
            return await self._batcher.submit(Question(ask.history, self.k, self._user(ask)))
        except NotAnswerableError as error:
            raise NothingError("no_known_items") from error

    def _user(self, ask: Ask) -> dict[str, Any]:
        """What is known of the user, by the model's fields; what is missing is left out."""
        known = {name: ask.feature(feature) for name, feature in self.of_user.items()}
        return {name: value for name, value in known.items() if value is not None}

    async def _rank(self, questions: list[Question]) -> Sequence[Ranking | Exception]:
        started = time.perf_counter()
        try:
            answers = await self.model.rank(questions)
        except ModelUnavailableError as error:
            log.warning("model unavailable for %d questions: %s", len(questions), error)
            self.breaker.failure()
            raise
        finally:
            self.metrics.stage.labels("inference").observe(time.perf_counter() - started)
            self.metrics.batch.labels("inference").observe(len(questions))
        self.breaker.success()
        return answers


def _user_features(resources: Resources, loaded: Artifact) -> dict[str, str]:
    """Field of the model → feature of the store, of those that the store has."""
    if f"assets/{USER_FIELDS}" not in loaded.signature.files:
        return {}
    found = {}
    for field in loaded.read_asset(USER_FIELDS)["fields"]:
        if field["feature"] is None:  # whoever asks the model itself sends it
            continue
        try:
            found[field["name"]] = resources.user_feature(field["feature"])
        except AbsentError as absent:
            log.warning(
                "model %s %s goes without what it reads of users as %r: %s",
                loaded.signature.name,
                loaded.signature.version,
                field["name"],
                absent,
            )
    return found
