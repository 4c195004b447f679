"""All that one gateway holds to answer about anomalies."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import sqlalchemy as sa
from hydra.utils import instantiate
from omegaconf import DictConfig

from models.artifact import Artifact
from pipelines.anomalies.severity import SeverityScale
from pipelines.anomalies.store import AnomalyStoreError
from serving.gateway.anomalies.database import AnomalyDatabase, first_line
from serving.gateway.anomalies.events import EventReader
from serving.gateway.anomalies.fields import FieldsInForce
from serving.gateway.anomalies.intake import Intake
from serving.gateway.anomalies.listing import ListingRoutes
from serving.gateway.anomalies.metrics import AnomalyMetrics
from serving.gateway.anomalies.prediction import PredictionRoutes
from serving.gateway.anomalies.scorer import Scorer
from serving.gateway.anomalies.telemetry import TelemetryRoutes
from serving.gateway.anomalies.thresholds import ThresholdCache
from serving.gateway.anomalies.verdicts import VerdictRoutes
from serving.gateway.breaker import Breaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.torchserve import TorchServeClient

log = logging.getLogger(__name__)


class Anomalies:
    """Built from the `gateway.anomalies` configuration and a detector's artifact."""

    def __init__(
        self,
        config: DictConfig,
        artifact: Artifact,
        torchserve: TorchServeClient,
        breaker: Breaker,
        metrics: GatewayMetrics,
    ) -> None:
        self.scorer = Scorer(
            artifact,
            torchserve,
            breaker,
            metrics,
            deadline_s=config.deadline_ms / 1000,
            max_batch=config.batching.max_batch,
            max_queue=config.batching.max_queue,
            model_concurrency=config.batching.model_concurrency,
        )
        counted = AnomalyMetrics(metrics.registry)
        reader: EventReader = instantiate(config.reader)
        severity: SeverityScale = instantiate(config.severity)
        self.database: AnomalyDatabase = instantiate(config.store)
        self.intake: Intake = instantiate(config.intake)
        thresholds: Any = instantiate(config.thresholds)
        self.thresholds: ThresholdCache = thresholds(
            self.database, self.scorer.name, self.scorer.version, self.scorer.threshold
        )
        self.prediction = PredictionRoutes(
            self.scorer,
            self.thresholds,
            reader,
            severity,
            counted,
            config.max_events,
            config.max_reasons,
        )
        self.telemetry = TelemetryRoutes(
            self.intake,
            reader,
            FieldsInForce(artifact, config.champion_s),
            counted,
            config.max_batch,
        )
        self.listing = ListingRoutes(self.database, config.default_limit, config.max_limit)
        self.verdicts = VerdictRoutes(self.database, counted)

    async def open(self) -> None:
        """Connect to the store; one that is away is tried again at the next question."""
        try:
            await asyncio.to_thread(self.database.run, lambda c: c.execute(sa.select(1)))
        except (sa.exc.SQLAlchemyError, AnomalyStoreError, OSError) as error:
            log.warning("the anomaly store is away: %s", first_line(error))

    async def close(self) -> None:
        await self.intake.close()
        self.database.close()
