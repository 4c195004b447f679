"""What stands between JSON and tensors: one codec a task, named by the artifact's signature.

A codec has `example(width)`, inputs to warm the session up with; `check(instance)`, which raises
`InstanceError` for what it cannot answer; `encode(instances)`, all of them as input arrays; and
`decode(outputs, instances)`, one JSON-able answer each, or an `InstanceError`'s JSON for what the
graph could not answer.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from models.artifact import Artifact
from serving.torchserve.codecs.anomaly import AnomalyCodec
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.recommendation import RecommendationCodec

__all__ = ["CODECS", "Codec", "InstanceError"]

Arrays = dict[str, np.ndarray]


class Codec(Protocol):
    """JSON instances ↔ arrays of one task."""

    def __init__(self, artifact: Artifact) -> None: ...

    def example(self, width: int) -> Arrays: ...

    def check(self, instance: Any) -> Any: ...

    def encode(self, instances: list[Any]) -> Arrays: ...

    def decode(self, outputs: list[np.ndarray], instances: list[Any]) -> list[dict[str, Any]]: ...


CODECS: dict[str, type[Codec]] = {
    "anomaly": AnomalyCodec,
    "recommendation": RecommendationCodec,
}
