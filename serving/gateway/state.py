"""What one gateway process holds between its start and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from models import artifact
from serving.features.client import FeatureClient
from serving.gateway.breaker import Breaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.model import TorchServeModel
from serving.gateway.prediction_log import PredictionLog
from serving.gateway.questions import Limits
from serving.gateway.ranking import Ranking
from serving.gateway.recommender import Recommender
from serving.gateway.user_features import UserFeatures


class GatewayState:
    """Everything that the routes need, built from the configuration.

    Raises:
        ArtifactError: the artifact is damaged.
        StoreError: there is no feature store, or not the model's feature service in it.
    """

    def __init__(self, config: DictConfig) -> None:
        loaded = artifact.load(Path(config.artifact))
        signature = loaded.signature
        popular = loaded.read_asset("popular.json")
        self.model_name = signature.name
        self.draining = False
        self.metrics = GatewayMetrics()
        self.log: PredictionLog | None = (
            instantiate(config.prediction_log) if config.prediction_log else None
        )
        self.model: TorchServeModel = instantiate(config.model)
        self.features: FeatureClient = instantiate(config.feature_client)
        self.cache: Any = instantiate(config.cache)
        self.limits = Limits(
            default_n=config.default_n,
            max_n=min(signature.limits["k"], len(popular)),
            max_batch=config.max_batch,
            max_history=config.max_history,
        )
        self.recommender = Recommender(
            features=UserFeatures(self.features, str(signature.feature_service)),
            model=self.model,
            cache=self.cache,
            breaker=Breaker(config.breaker.failures, config.breaker.open_s),
            metrics=self.metrics,
            popular=Ranking([p["item"] for p in popular], [p["score"] for p in popular]),
            version=signature.version,
            max_history=signature.limits["history"],
            fetch=min(config.fetch, self.limits.max_n),
            deadline_s=config.deadline_ms / 1000,
            max_batch=config.batching.max_batch,
            max_queue=config.batching.max_queue,
            model_concurrency=config.batching.model_concurrency,
        )

    async def open(self) -> None:
        await self.features.open()
        await self.model.open()
        if self.log is not None:
            await self.log.open(self.metrics)

    def measure(self) -> None:
        """Bring gauges up to date that nobody else sets."""
        memory = self.features.memory
        if memory is not None:
            self.metrics.refresh_failures.set(memory.refresh_failures)
            for entity, count in memory.kept.items():
                self.metrics.features_kept.labels(entity).set(count)

    async def close(self) -> None:
        await self.model.close()
        await self.cache.close()
        await self.features.close()
        if self.log is not None:
            await self.log.close()
