"""Raw texts in; labels, probabilities and doubt out.

The artifact's own cleaning and tokenizer read the texts, by the code that read them in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.artifact import Artifact
from models.sentiment.predictor import Predictor
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.one_run import Run

MOST_CHARACTERS = 1_000_000  # of one text: some 170,000 words


@dataclass(frozen=True)
class Query:
    """A checked instance."""

    text: str
    explain: bool


class SentimentCodec:
    """Instances `{"text": str, "explain": bool?}`; texts of any length, read in pieces."""

    def __init__(self, artifact: Artifact) -> None:
        self.predictor = Predictor(artifact, _not_yet)
        self.tokens = int(artifact.signature.limits["tokens"])

    def example(self, width: int) -> dict[str, np.ndarray]:
        """A batch of `width` pieces of full length."""
        return {"ids": np.ones((width, self.tokens), dtype=np.int64)}

    def check(self, instance: Any) -> Query:
        """Raises `InstanceError` 400 for what is no text, 413 for one that is too long."""
        if not isinstance(instance, dict):
            raise InstanceError(400, f"an instance is an object, not {type(instance).__name__}")
        extra = sorted(set(instance) - {"text", "explain"})
        if extra:
            raise InstanceError(400, f"an instance has text and explain, not {extra[0][:40]!r}")
        text, explain = instance.get("text"), instance.get("explain", False)
        if not isinstance(text, str):
            raise InstanceError(400, f"text is {repr(text)[:40]}; it must be a string")
        if not isinstance(explain, bool):
            raise InstanceError(400, f"explain is {repr(explain)[:40]}; it must be true or false")
        if len(text) > MOST_CHARACTERS:
            raise InstanceError(413, f"text has {len(text)} characters; at most {MOST_CHARACTERS}")
        return Query(text, explain)

    def answer(self, run: Run, instances: list[Query]) -> list[dict[str, Any]]:
        """One answer each; see `models.sentiment.answers.Answer`."""
        self.predictor.run = lambda feed, *, exact: run(dict(feed), exact=exact)
        answers = self.predictor.answers([q.text for q in instances])
        for query, answer in zip(instances, answers, strict=True):
            if query.explain:
                answer.explanation = self.predictor.explain(query.text)
        return [answer.as_json() for answer in answers]


def _not_yet(*_: Any, exact: bool = False) -> Any:
    raise AssertionError("the handler gives the graph with each call")
