"""One user and many items in, a probability for each item out.

Raw values become the graph's ids by the code that made them in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.artifact import Artifact
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.fields import FieldError
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.one_run import OneRun


@dataclass(frozen=True)
class Query:
    """A checked instance: each field's values, one where all items share it.

    `missing` are the model's fields that were not sent at all, `ignored` what it does not know.
    """

    columns: dict[str, np.ndarray]  # [N] or [1]; bags [N, L] or [1, L]
    items: int
    missing: list[str]
    ignored: list[str]


class RankingCodec(OneRun):
    """Instances `{"user": {field: value}, "items": {field: [value of each item]}}`.

    `user` holds what all items share, `items` what each has of its own; a field may stand in
    either. A value is a number, a category or a list of categories, as the field is; null and a
    field that is not sent are missing values.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.encoding = Encoding.from_json(artifact.read_asset("fields.json"))
        self.known = {f.name: f for f in self.encoding.fields.all}
        self.most = int(artifact.signature.limits["candidates"])

    def example(self, width: int) -> dict[str, np.ndarray]:
        """A batch of `width` items of which nothing is known."""
        return {
            name: np.repeat(self.encoding.column(field, [None]), width, axis=0)
            for name, field in self.known.items()
        }

    def check(self, instance: Any) -> Query:
        """Raises `InstanceError` 400 for a malformed instance, 413 for too many items.

        The text names the field, its value, and what is accepted.
        """
        if not isinstance(instance, dict):
            raise InstanceError(400, f"an instance is an object, not {type(instance).__name__}")
        extra = sorted(map(str, set(instance) - {"user", "items"}))
        if extra:
            raise InstanceError(400, f"an instance has user and items, not {_safe(extra[0])!r}")
        user: Any = instance.get("user", {})
        items: Any = instance.get("items")
        if not isinstance(user, dict):
            raise InstanceError(400, "user is an object of field → value")
        count = self._count(items)
        twice = sorted(set(user) & set(items))
        if twice:
            raise InstanceError(400, f"{_safe(twice[0])} stands in user and in items")
        columns = {}
        for name, field in self.known.items():
            values = items[name] if name in items else [user.get(name)]
            try:
                columns[name] = self.encoding.column(field, values)
            except FieldError as error:
                raise InstanceError(400, str(error)) from error
        sent = {**user, **items}
        return Query(
            columns=columns,
            items=count,
            missing=[name for name in self.known if name not in sent],
            ignored=sorted(_safe(name) for name in sent if name not in self.known),
        )

    def _count(self, items: Any) -> int:
        """How many items there are: the length of every list."""
        if not isinstance(items, Mapping) or not items:
            raise InstanceError(400, "items is an object of field → list of values, at least one")
        lengths: dict[int, str] = {}
        for name, values in items.items():
            if not isinstance(values, list):
                raise InstanceError(400, f"items.{_safe(name)} is a list, one value an item")
            lengths.setdefault(len(values), _safe(name))
        if len(lengths) > 1:
            told = ", ".join(f"{name} has {n}" for n, name in sorted(lengths.items()))
            raise InstanceError(400, f"the lists of items differ in length: {told}")
        [count] = lengths
        if count == 0:
            raise InstanceError(400, "items has no item; at least one")
        if count > self.most:
            raise InstanceError(413, f"{count} items; at most {self.most} an instance")
        return count

    def encode(self, instances: list[Query]) -> dict[str, np.ndarray]:
        """The items of all instances, one after another; bags as wide as the widest."""
        return {
            name: _stacked([(query.columns[name], query.items) for query in instances])
            for name in self.known
        }

    def decode(self, outputs: list[np.ndarray], instances: list[Query]) -> list[dict[str, Any]]:
        """The probabilities of each instance's items, in their order."""
        answers: list[dict[str, Any]] = []
        ends = np.cumsum([query.items for query in instances])
        for query, scores in zip(instances, np.split(outputs[0], ends[:-1]), strict=True):
            if not np.isfinite(scores).all():
                answers.append(InstanceError(500, "the model's answer is not finite").as_json())
                continue
            answers.append(
                {
                    "scores": scores.astype(np.float64).round(6).tolist(),
                    "missing": query.missing,
                    "ignored": query.ignored,
                }
            )
        return answers


def _stacked(columns: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Each column once an item, all below one another."""
    if columns[0][0].ndim == 2:
        width = max(c.shape[1] for c, _ in columns)
        columns = [(np.pad(c, ((0, 0), (0, width - c.shape[1]))), n) for c, n in columns]
    return np.concatenate(
        [np.repeat(c, n, axis=0) if len(c) == 1 else c for c, n in columns], axis=0
    )


def _safe(text: object) -> str:
    """A stranger's name, cut short; half characters cannot be sent."""
    return str(text)[:60].encode("utf-8", "replace").decode()
