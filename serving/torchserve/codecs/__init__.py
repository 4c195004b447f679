"""What stands between JSON and tensors: one codec a task, named by the artifact's signature.

A codec has `example(width)`, inputs to warm the session up with; `check(instance)`, which raises
`InstanceError` for what it cannot answer; and `answer(run, instances)`, which puts instances
through the graph and gives one JSON-able answer each, or an `InstanceError`'s JSON for what the
graph could not answer. Most do it in one run: see `one_run.py`.
"""

from __future__ import annotations

from typing import Any, Protocol

from models.artifact import Artifact
from serving.torchserve.codecs.anomaly import AnomalyCodec
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.indexed_recommendation import IndexedRecommendationCodec
from serving.torchserve.codecs.one_run import Arrays, Run
from serving.torchserve.codecs.ranking import RankingCodec
from serving.torchserve.codecs.rating import RatingCodec
from serving.torchserve.codecs.recommendation import RecommendationCodec
from serving.torchserve.codecs.sentiment import SentimentCodec

__all__ = ["CODECS", "Codec", "InstanceError"]


class Codec(Protocol):
    """JSON instances ↔ arrays of one task."""

    def __init__(self, artifact: Artifact) -> None: ...

    def example(self, width: int) -> Arrays: ...

    def check(self, instance: Any) -> Any: ...

    def answer(self, run: Run, instances: list[Any]) -> list[dict[str, Any]]: ...


CODECS: dict[str, type[Codec]] = {
    "anomaly": AnomalyCodec,
    "indexed_recommendation": IndexedRecommendationCodec,
    "ranking": RankingCodec,
    "rating": RatingCodec,
    "recommendation": RecommendationCodec,
    "sentiment": SentimentCodec,
}
