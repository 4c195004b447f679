"""The recommender's model behind TorchServe: many histories in one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.gateway.ranking import Ranking
from serving.gateway.torchserve import TorchServeClient


class Question(NamedTuple):
    """A history, most recent item last, how many items to answer, and what is known of the user."""

    history: list[str]
    k: int
    user: Mapping[str, Any] | None = None


class NotAnswerableError(RuntimeError):
    """The model refused this one history: it knows none of its items."""


class RankingModel:
    """Asks one recommender.

    Args:
        name: under which TorchServe has it.
    """

    def __init__(self, torchserve: TorchServeClient, name: str) -> None:
        self.torchserve = torchserve
        self.name = name

    async def rank(self, questions: list[Question]) -> Sequence[Ranking | Exception]:
        """Answers in order; a history the model cannot use gives `NotAnswerableError`.

        Raises:
            ModelUnavailableError: no usable answer.
        """
        instances = [
            {"history": q.history, "k": q.k} | ({"user": dict(q.user)} if q.user else {})
            for q in questions
        ]
        predictions = await self.torchserve.predict(self.name, instances)
        return [_ranking(p) for p in predictions]


def _ranking(prediction: dict[str, Any]) -> Ranking | Exception:
    if "error" in prediction:
        return NotAnswerableError(prediction["error"]["detail"])
    return Ranking(prediction["items"], prediction["scores"])
