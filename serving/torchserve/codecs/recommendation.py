"""Histories of item ids in, and what is known of users; ranked item ids out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.artifact import Artifact
from models.recommender.ranking.fields import FieldError
from models.recommender.retrieval.user_inputs import UserInputs, stacked
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.one_run import OneRun

DROPPED = -1e30  # scores at or below this mark masked items: fewer candidates than places


@dataclass(frozen=True)
class Query:
    """A checked instance in graph ids."""

    history: list[int]
    seen: list[int]
    k: int
    unknown: int
    user: dict[str, np.ndarray] = field(default_factory=dict)  # by input, one row each


class RecommendationCodec(OneRun):
    """Instances `{"history": [id, …], "seen": [id, …]?, "k": n?, "user": {field: value}?}`.

    The most recent item is last. `user` is what is known of the user, for a model that reads it;
    null and fields that are not sent are missing values, and others are not read.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.items: list[str] = artifact.read_asset("items.json")
        self.code = {item: i + 1 for i, item in enumerate(self.items)}
        self.max_history = artifact.signature.limits["history"]
        self.max_k = artifact.signature.limits["k"]
        self.user = UserInputs.of(artifact)

    def example(self, width: int) -> dict[str, np.ndarray]:
        """A batch of `width` full-length histories."""
        history = np.ones((width, self.max_history), dtype=np.int64)
        return {"history": history, "seen": history, **self.user.columns([{}] * width)}

    def check(self, instance: Any) -> Query:
        """Raises `InstanceError` 400 for a malformed instance, 422 for one without known items."""
        if not isinstance(instance, dict):
            raise InstanceError(400, f"an instance is an object, not {type(instance).__name__}")
        history = _ids(instance, "history")
        seen = _ids(instance, "seen")
        k = instance.get("k", self.max_k)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= self.max_k:
            raise InstanceError(400, f"k is a whole number from 1 to {self.max_k}, not {k!r}")
        known = [c for c in map(self.code.get, history) if c]
        if not known:
            raise InstanceError(
                422, f"history has {len(history)} items, none of them known to this model"
            )
        also = [c for c in map(self.code.get, seen) if c]
        unknown = len(history) - len(known)
        user = self._user(instance.get("user"))
        return Query(known[-self.max_history :], [*known, *also], k, unknown, user)

    def _user(self, given: Any) -> dict[str, np.ndarray]:
        """What is known of the user as the graph's inputs take it."""
        if given is not None and not isinstance(given, dict):
            raise InstanceError(
                400, f"user is {str(given)[:40]!r}; it must be an object of field → value, or null"
            )
        try:
            return self.user.columns([given or {}])
        except FieldError as error:
            raise InstanceError(400, f"user.{error}") from error

    def encode(self, instances: list[Query]) -> dict[str, np.ndarray]:
        """Left-padded `history` [B, T] and 0-padded `seen` [B, S], as long as the longest."""
        return {
            "history": _pad([q.history for q in instances], left=True),
            "seen": _pad([q.seen for q in instances], left=False),
            **{n: stacked([q.user[n] for q in instances]) for n in instances[0].user},
        }

    def decode(self, outputs: list[np.ndarray], instances: list[Query]) -> list[dict[str, Any]]:
        """The first k unmasked items of each row with their scores."""
        answers = []
        for query, ids, scores in zip(instances, outputs[0], outputs[1], strict=True):
            n = min(query.k, int(np.count_nonzero(scores > DROPPED)))
            answers.append(
                {
                    "items": [self.items[i - 1] for i in ids[:n].tolist()],
                    "scores": [round(s, 6) for s in scores[:n].tolist()],
                    "unknown": query.unknown,
                }
            )
        return answers


def _ids(instance: dict[str, Any], name: str) -> list[str]:
    ids = instance.get(name, [])
    if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
        raise InstanceError(400, f"{name} is a list of item id strings")
    return ids


def _pad(rows: list[list[int]], left: bool) -> np.ndarray:
    width = max(len(r) for r in rows)
    padded = np.zeros((len(rows), width), dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        if left:
            target[width - len(row) :] = row
        else:
            target[: len(row)] = row
    return padded
