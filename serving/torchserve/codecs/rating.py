"""A user and an item in; how many stars the one would give the other out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.artifact import Artifact
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.one_run import OneRun


@dataclass(frozen=True)
class Pair:
    """A checked instance in graph ids; 0 is one that the model does not know."""

    user: int
    item: int


class RatingCodec(OneRun):
    """Instances `{"user": id, "item": id}`; who or what is unknown gets what is usual."""

    def __init__(self, artifact: Artifact) -> None:
        self.users = {u: n + 1 for n, u in enumerate(artifact.read_asset("users.json"))}
        self.items = {i: n + 1 for n, i in enumerate(artifact.read_asset("items.json"))}

    def example(self, width: int) -> dict[str, np.ndarray]:
        """A batch of `width` pairs."""
        ones = np.ones(width, dtype=np.int64)
        return {"user": ones, "item": ones}

    def check(self, instance: Any) -> Pair:
        """Raises `InstanceError` 400 for a malformed instance."""
        if not isinstance(instance, dict):
            raise InstanceError(400, f"an instance is an object, not {type(instance).__name__}")
        for name in ("user", "item"):
            if not isinstance(instance.get(name), str):
                raise InstanceError(400, f"{name} is an id string, not {instance.get(name)!r:.60}")
        return Pair(self.users.get(instance["user"], 0), self.items.get(instance["item"], 0))

    def encode(self, instances: list[Pair]) -> dict[str, np.ndarray]:
        """`user` [B] and `item` [B]."""
        return {
            "user": np.array([p.user for p in instances], dtype=np.int64),
            "item": np.array([p.item for p in instances], dtype=np.int64),
        }

    def decode(self, outputs: list[np.ndarray], instances: list[Pair]) -> list[dict[str, Any]]:
        """The rating, and whether the model knows user and item."""
        return [
            {
                "rating": round(float(stars), 4),
                "known": {"user": pair.user > 0, "item": pair.item > 0},
            }
            for pair, stars in zip(instances, outputs[0], strict=True)
        ]
