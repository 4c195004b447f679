"""The stages of one answer: each is timed, has a deadline, and may fail without the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeVar

from prometheus_client import Counter, Histogram

from serving.features.errors import FeaturesUnavailableError
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.microbatch import OverloadedError
from serving.gateway.recommendations.absent import NothingError
from serving.gateway.torchserve import ModelUnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")

_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.5, 1.0)


class Skipped(NamedTuple):
    """A stage that an answer goes without."""

    stage: str
    reason: str


class StageMetrics:
    """What Prometheus is told of the stages."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        registry = metrics.registry
        self.seconds = Histogram(
            "millrace_gateway_recommendation_stage_seconds",
            "Time one answer spent in a stage",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.skipped = Counter(
            "millrace_gateway_recommendation_skipped",
            "Stages that an answer went without",
            ["stage", "reason"],
            registry=registry,
        )
        self.filtered = Counter(
            "millrace_gateway_recommendation_filtered",
            "Candidates that a filter removed",
            ["filter"],
            registry=registry,
        )
        self.shown = Counter(
            "millrace_gateway_recommendation_shown",
            "Items answered, by the source that proposed them",
            ["source"],
            registry=registry,
        )


class Stages:
    """Runs the stages of one answer.

    Args:
        deadlines: seconds by the stage's name, up to its first dot.
        until: when the answer is due, by `time.perf_counter`.
    """

    def __init__(self, metrics: StageMetrics, deadlines: Mapping[str, float], until: float) -> None:
        self.metrics = metrics
        self.deadlines = deadlines
        self.until = until
        self.skipped: list[Skipped] = []

    async def run(self, stage: str, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """The stage's outcome, or `otherwise` if it fails or runs out of time.

        A stage may take what is left until the answer is due, and no more than its own deadline.
        Nothing can interrupt work inside this process; what overruns there is seen in the metrics.

        Raises:
            NothingError: the stage has nothing to say, which is no failure.
        """
        started = time.perf_counter()
        allowed = min(self.deadlines[stage.partition(".")[0]], max(self.until - started, 0.0))
        try:
            async with asyncio.timeout(allowed):
                return await work()
        except NothingError:
            raise
        except TimeoutError:
            self.skip(stage, "deadline")
        except ModelUnavailableError:
            self.skip(stage, "model_unavailable")
        except FeaturesUnavailableError as error:
            log.warning("features unavailable: %s", error)
            self.skip(stage, "features_unavailable")
        except OverloadedError:
            self.skip(stage, "overloaded")
        except Exception:
            log.exception("stage %s failed", stage)
            self.skip(stage, "failed")
        finally:
            self.metrics.seconds.labels(stage).observe(time.perf_counter() - started)
        return otherwise

    def skip(self, stage: str, reason: str) -> None:
        self.skipped.append(Skipped(stage, reason))
        self.metrics.skipped.labels(stage, reason).inc()
