"""From events to the model's answers: together, within a deadline, or not at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from models.artifact import Artifact
from serving.gateway.anomalies.events import Event
from serving.gateway.anomalies.fields import require_known
from serving.gateway.breaker import Breaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.microbatch import MicroBatcher
from serving.gateway.torchserve import ModelUnavailableError, TorchServeClient

log = logging.getLogger(__name__)

Prediction = dict[str, Any]


class ScoringFailedError(RuntimeError):
    """Nobody knows whether the event is normal; the text says what failed."""


class Scorer:
    """Asks one detector behind TorchServe.

    Args:
        deadline_s: from the call to the answer.
        max_batch, max_queue, model_concurrency: see `MicroBatcher`.
    """

    def __init__(
        self,
        artifact: Artifact,
        torchserve: TorchServeClient,
        breaker: Breaker,
        metrics: GatewayMetrics,
        deadline_s: float,
        max_batch: int,
        max_queue: int,
        model_concurrency: int,
    ) -> None:
        self.name = artifact.signature.name
        self.version = artifact.signature.version
        self.window = int(artifact.signature.limits["window"])
        self.fields: list[str] = artifact.read_asset("fields.json")
        self.threshold = float(artifact.read_asset("threshold.json")["threshold"])
        self.torchserve = torchserve
        self.breaker = breaker
        self.metrics = metrics
        self.deadline_s = deadline_s
        self._ask = MicroBatcher[dict[str, Any], Prediction](
            self._ask_batch, max_batch, max_queue, model_concurrency
        )

    def check(self, event: Event) -> None:
        """An event may lack fields of the model's, and have others, but not lack all.

        Raises:
            EventError: it has a number for none of them.
        """
        require_known(event, self.fields, self.name, self.version)

    async def score(self, event: Event) -> Prediction:
        """See `serving/torchserve/codecs/anomaly.py` for what a prediction holds.

        Raises:
            ScoringFailedError: no answer within the deadline, or none that can be used.
            OverloadedError: too many are waiting already.
        """
        if not self.breaker.allow():
            raise ScoringFailedError("the model has just failed several times")
        earlier = event.history[max(0, len(event.history) - self.window + 1) :]
        rows = [*(earlier if self.window > 1 else ()), event.fields]
        instance = {"values": rows, "time": event.timestamp_us // 1_000_000}
        try:
            async with asyncio.timeout(self.deadline_s):
                prediction = await self._ask.submit(instance)
        except TimeoutError as error:
            text = f"no answer of the model within {self.deadline_s:g} s"
            raise ScoringFailedError(text) from error
        except ModelUnavailableError as error:
            raise ScoringFailedError("the model is unavailable") from error
        if "error" in prediction:
            raise ScoringFailedError(f"the model refused: {prediction['error']['detail']}")
        return prediction

    async def _ask_batch(self, instances: list[dict[str, Any]]) -> Sequence[Prediction]:
        started = time.perf_counter()
        try:
            predictions = await self.torchserve.predict(self.name, instances)
        except ModelUnavailableError as error:
            log.warning("model unavailable for %d events: %s", len(instances), error)
            self.breaker.failure()
            raise
        finally:
            taken = time.perf_counter() - started
            self.metrics.stage.labels("anomaly").observe(taken)
            self.metrics.batch.labels("anomaly").observe(len(instances))
        self.breaker.success()
        return predictions
