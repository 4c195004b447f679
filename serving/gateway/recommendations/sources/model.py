"""Candidates of a model behind TorchServe: any artifact that takes a history and answers items."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from serving.gateway.microbatch import MicroBatcher
from serving.gateway.model import NotAnswerableError, Question, RankingModel
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources
from serving.gateway.torchserve import ModelUnavailableError

log = logging.getLogger(__name__)


class ModelSource:
    """Asks a recommender, many histories in one request.

    Args:
        artifact: its use: which of the served artifacts.
        k: candidates, at most as many as its graph answers.
    """

    kind = "model"

    def __init__(self, resources: Resources, artifact: str, k: int) -> None:
        self.use = artifact
        signature = resources.artifact(artifact).signature
        self.model = RankingModel(resources.torchserve, signature.name)
        self.version = signature.version
        self.k = min(k, signature.limits["k"])
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
            return await self._batcher.submit(Question(ask.history, self.k))
        except NotAnswerableError as error:
            raise NothingError("no_known_items") from error

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
