"""What the parts of the pipeline may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.artifact import Artifact
from serving.features.client import FeatureClient
from serving.gateway.breaker import Breaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError
from serving.gateway.recommendations.neighbours import Neighbours
from serving.gateway.recommendations.trending import Trending
from serving.gateway.torchserve import TorchServeClient


@dataclass(frozen=True)
class Resources:
    """Everything that is made once a gateway.

    Args:
        artifacts: those served, by use; the pipeline's main one is `recommender`.
        popular: the main artifact's, best first.
        neighbours: the main artifact's; None: it has none.
        trending: what many look at now.
        breaker: makes a breaker for a model.
        max_batch, max_queue, model_concurrency: of micro-batches; see `batching` in the config.
    """

    artifacts: Mapping[str, Artifact]
    features: FeatureClient
    torchserve: TorchServeClient
    metrics: GatewayMetrics
    popular: Ranking
    neighbours: Neighbours | None
    trending: Trending
    breaker: Callable[[], Breaker]
    max_batch: int
    max_queue: int
    model_concurrency: int

    def artifact(self, use: str) -> Artifact:
        """A served artifact.

        Raises:
            AbsentError: none is served for this use.
        """
        found = self.artifacts.get(use)
        if found is None:
            raise AbsentError(f"no artifact is served as {use!r}")
        return found

    def item_feature(self, name: str) -> str:
        """The name, if the store has this feature of items.

        Raises:
            AbsentError: it does not, or its items' ids are not text.
        """
        return self._feature(name, "item_id")

    def is_of_items(self, name: str) -> bool:
        """Whether a feature of the store is one of items."""
        return bool(self.features.catalog.view(name.partition(":")[0]).key == "item_id")

    def user_feature(self, name: str) -> str:
        """The same of users."""
        return self._feature(name, "user_id")

    def _feature(self, name: str, key: str) -> str:
        view_name, _, feature = name.partition(":")
        view: Any = self.features.views.get(view_name)
        if view is None or feature not in view.features:
            raise AbsentError(f"the feature store has no {name!r}")
        if (view.key, view.key_type) != (key, "STRING"):
            raise AbsentError(
                f"{name!r} is a feature of {view.key} ({view.key_type}); wanted: {key} (STRING)"
            )
        return name
