"""From texts to the model's answers: a few at a time, so that a large call lets others pass."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from models.artifact import Artifact
from serving.gateway.breaker import Breaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.torchserve import ModelUnavailableError, TorchServeClient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentimentLimits:
    """See `configs/gateway/default.yaml`."""

    max_texts: int
    max_explained: int
    chunk: int
    chunk_characters: int
    deadline_s: float


class Sentiment:
    """Asks one text classifier behind TorchServe."""

    def __init__(
        self,
        artifact: Artifact,
        torchserve: TorchServeClient,
        breaker: Breaker,
        metrics: GatewayMetrics,
        limits: SentimentLimits,
    ) -> None:
        self.name = artifact.signature.name
        self.version = artifact.signature.version
        self.torchserve = torchserve
        self.breaker = breaker
        self.metrics = metrics
        self.limits = limits
        self.answered = Counter(
            "millrace_gateway_sentiment_answers",
            "Texts answered, by label; refused for those that were not",
            ["label"],
            registry=metrics.registry,
        )

    async def judge(self, texts: Sequence[Any], explain: bool) -> list[dict[str, Any]]:
        """One answer a text; one that was refused is `{"error": {status, detail}}`.

        Raises:
            ModelUnavailableError: no answer, or not all of them before the deadline.
        """
        if not self.breaker.allow():
            raise ModelUnavailableError("the model has just failed several times")
        until = time.monotonic() + self.limits.deadline_s
        answers: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                for part in self._parts(texts, explain):
                    left = max(0.1, until - time.monotonic())
                    answers += await self._ask(
                        [{"text": t, "explain": explain} for t in part], left
                    )
        except TimeoutError as error:
            raise ModelUnavailableError(
                f"{len(answers)} of {len(texts)} texts were answered within "
                f"{self.limits.deadline_s:g} s"
            ) from error
        for answer in answers:
            self.answered.labels(answer.get("label", "refused")).inc()
        return answers

    def _parts(self, texts: Sequence[Any], explain: bool) -> Iterator[list[Any]]:
        """Texts that the model is asked together: so few that it answers long before it counts as
        stuck. An explanation costs a run for each token, so explained texts go one at a time."""
        most = 1 if explain else self.limits.chunk
        part: list[Any] = []
        characters = 0
        for text in texts:
            size = len(text) if isinstance(text, str) else 0
            full = len(part) >= most or characters + size > self.limits.chunk_characters
            if part and full:
                yield part
                part, characters = [], 0
            part.append(text)
            characters += size
        yield part

    async def _ask(self, instances: list[dict[str, Any]], left: float) -> list[dict[str, Any]]:
        started = time.perf_counter()
        try:
            answers = await self.torchserve.predict(self.name, instances, left)
        except ModelUnavailableError as error:
            log.warning("model unavailable for %d texts: %s", len(instances), error)
            self.breaker.failure()
            raise
        finally:
            self.metrics.stage.labels("sentiment").observe(time.perf_counter() - started)
            self.metrics.batch.labels("sentiment").observe(len(instances))
        self.breaker.success()
        return answers
