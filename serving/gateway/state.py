"""What one gateway process holds between its start and its end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from hydra.utils import instantiate
from omegaconf import DictConfig

from feature_repo.registry.contract import FeatureVersionError, require_same
from models import artifact
from serving.features.client import FeatureClient
from serving.gateway.access.audit import AuditLog
from serving.gateway.access.database import Database
from serving.gateway.access.gate import Gate
from serving.gateway.access.guard import Access
from serving.gateway.anomalies.service import Anomalies
from serving.gateway.breaker import Breaker
from serving.gateway.features.pushes import Pushes
from serving.gateway.features.questions import ReadLimits
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.prediction_log import PredictionLog
from serving.gateway.questions import Limits
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.neighbours import Neighbours
from serving.gateway.recommendations.resources import Resources
from serving.gateway.recommendations.service import MAIN, Recommendations
from serving.gateway.recommendations.trending.nothing import NoTrends
from serving.gateway.sentiment.service import Sentiment, SentimentLimits
from serving.gateway.torchserve import TorchServeClient

log = logging.getLogger(__name__)


class Model(Protocol):
    """What answers from a model."""

    breaker: Breaker
    version: str


class GatewayState:
    """Everything that the routes need, built from the configuration.

    What has no artifact has no routes; with none at all the gateway serves features only.

    Raises:
        ArtifactError: an artifact is damaged.
        StoreError: there is no feature store, or not the model's feature service in it.
        OpenDoorError: without access control, the host can be reached from elsewhere.
        FeatureVersionError: the model was trained on other versions of its features.
    """

    def __init__(self, config: DictConfig) -> None:
        self.draining = False
        self.version = "features"
        self.metrics = GatewayMetrics()
        self.access: Access = instantiate(config.access)
        self.access.check_host(config.host)
        self.database = Database(Path(config.features))
        self.audit: AuditLog = instantiate(config.audit)
        self.gate = Gate(self.access, self.audit, self.metrics, config.project)
        self.features: FeatureClient = instantiate(config.feature_client)
        self.pushes: Pushes = instantiate(config.pushes)
        self.read_limits: ReadLimits = instantiate(config.reads)
        self.registry_max_age_s: float = config.registry_max_age_s
        self.audit_max_limit: int = config.audit_max_limit
        self.torchserve: TorchServeClient | None = None
        if any(path is not None for path in config.artifacts.values()):
            self.torchserve = instantiate(config.torchserve)
        self.anomalies: Anomalies | None = None
        if config.artifacts.anomaly is not None:
            self._serve_anomalies(config)
        self.sentiment: Sentiment | None = None
        if config.artifacts.sentiment is not None:
            self._serve_sentiment(config)
        self.recommendations: Recommendations | None = None
        self.log: PredictionLog | None = None
        self.contexts: dict[str, str] = {}
        if config.artifacts.recommender is not None:
            self._serve_recommendations(config)

    def _serve_anomalies(self, config: DictConfig) -> None:
        """What judging events needs."""
        assert self.torchserve is not None, "there is an artifact"
        loaded = artifact.load(Path(config.artifacts.anomaly))
        self.version = loaded.signature.version
        breaker = Breaker(config.breaker.failures, config.breaker.open_s)
        self.anomalies = Anomalies(config.anomalies, loaded, self.torchserve, breaker, self.metrics)

    def _serve_sentiment(self, config: DictConfig) -> None:
        """What judging texts needs."""
        assert self.torchserve is not None, "there is an artifact"
        loaded = artifact.load(Path(config.artifacts.sentiment))
        self.version = loaded.signature.version
        breaker = Breaker(config.breaker.failures, config.breaker.open_s)
        limits: SentimentLimits = instantiate(config.sentiment)
        self.sentiment = Sentiment(loaded, self.torchserve, breaker, self.metrics, limits)

    def _serve_recommendations(self, config: DictConfig) -> None:
        """What recommendations need: the recommender, and what goes with it."""
        assert self.torchserve is not None, "there is an artifact"
        artifacts = {
            use: artifact.load(Path(config.artifacts[use]))
            for use in ("recommender", *config.recommendations.uses)
            if config.artifacts.get(use) is not None
        }
        for use, loaded in artifacts.items():
            self._check_features(use, loaded.signature, Path(config.features))
        main = artifacts["recommender"]
        signature = main.signature
        popular = main.read_asset("popular.json")
        self.version = signature.version
        self.log = instantiate(config.prediction_log) if config.prediction_log else None
        limits = Limits(
            default_n=config.default_n,
            max_n=min(signature.limits["k"], len(popular)),
            max_batch=config.max_batch,
            max_history=config.max_history,
        )
        resources = Resources(
            artifacts=artifacts,
            features=self.features,
            torchserve=self.torchserve,
            metrics=self.metrics,
            popular=Ranking([p["item"] for p in popular], [p["score"] for p in popular]),
            neighbours=Neighbours.of(main),
            trending=NoTrends(),
            breaker=lambda: Breaker(config.breaker.failures, config.breaker.open_s),
            max_batch=config.batching.max_batch,
            max_queue=config.batching.max_queue,
            model_concurrency=config.batching.model_concurrency,
        )
        self.contexts = {
            str(name): str(kind) for name, kind in config.recommendations.context.items()
        }
        self.recommendations = Recommendations(
            config,
            resources,
            instantiate(config.cache),
            limits,
            keep_given=self.log is not None and self.log.ranker_features,
        )

    @staticmethod
    def _check_features(use: str, signature: artifact.Signature, folder: Path) -> None:
        name = f"{signature.name} {signature.version}"
        if not signature.features:
            log.warning("model %s does not name the versions of its features", name)
            return
        service = str(signature.feature_service)
        try:
            differences = require_same(name, signature.features, folder, service)
        except FeatureVersionError as error:
            if use == MAIN:
                raise
            raise FeatureVersionError(
                f"{error}; or go without it (models.{use}.serve=false)"
            ) from error
        for difference in differences:
            log.warning("model %s: %s", name, difference)

    @property
    def models(self) -> dict[str, Model]:
        """What answers from a model, by its use."""
        found: dict[str, Model] = {}
        if self.recommendations is not None:
            found |= self.recommendations.models
        if self.anomalies is not None:
            found["anomaly"] = self.anomalies.scorer
        if self.sentiment is not None:
            found["sentiment"] = self.sentiment
        return found

    async def open(self) -> None:
        self.audit.open(self.database, self.metrics)
        await self.access.open(self.database)
        await self.features.open()
        if self.torchserve is not None:
            await self.torchserve.open()
        if self.anomalies is not None:
            await self.anomalies.open()
        if self.recommendations is not None:
            await self.recommendations.open()
        if self.log is not None:
            await self.log.open(self.metrics)

    def measure(self) -> None:
        """Bring gauges up to date that nobody else sets."""
        memory = self.features.memory
        if memory is not None:
            self.metrics.refresh_failures.set(memory.refresh_failures)
            for entity, count in memory.kept.items():
                self.metrics.features_kept.labels(entity).set(count)
        if self.recommendations is not None:
            parts = self.recommendations.models.values()
            self.metrics.breaker_open.set(any(p.breaker.state != "closed" for p in parts))

    async def close(self) -> None:
        if self.recommendations is not None:
            await self.recommendations.close()
        if self.log is not None:
            await self.log.close()
        if self.anomalies is not None:
            await self.anomalies.close()
        if self.torchserve is not None:
            await self.torchserve.close()
        await self.pushes.close()
        await self.features.close()
        await self.access.close()
        await asyncio.to_thread(self.audit.close)
        self.database.close()
