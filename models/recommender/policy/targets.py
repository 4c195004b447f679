"""How likely the policy to be judged is to show what the log shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from models import artifact
from models.champion import in_force
from models.recommender.attributes import AttributeTable
from models.recommender.interactions import DataError
from models.recommender.policy.log import Log
from models.recommender.policy.sums import Array, Codes
from models.recommender.policy.users import known_users
from models.recommender.retrieval.user_inputs import UserInputs
from models.session import session


class Question(NamedTuple):
    """What a model is asked."""

    history: tuple[int, ...]  # codes, oldest first
    user: str  # what the model reads of the user, as JSON


class Target(NamedTuple):
    """Of each row: how likely the target was to show its item, and what else it might show."""

    chance: Array  # [N]
    actions: list[list[str]] | None = None  # [N][K] items; None: not known
    chances: list[list[float]] | None = None  # [N][K]


class TargetPolicy(Protocol):
    """Anything that knows these probabilities."""

    def of(self, log: Log) -> Target: ...


@dataclass(frozen=True)
class ColumnTarget:
    """Probabilities that the log holds already, in the column `target` of its reader.

    Args:
        actions, chances: columns of lists, what the target may show at a row's place and how
            likely each is, which the doubly robust estimator needs; null: not known.

    Raises:
        DataError: the log has no such column, or lists of different lengths.
    """

    actions: str | None = None
    chances: str | None = None

    def of(self, log: Log) -> Target:
        if "target" not in log.frame.columns:
            raise DataError("policy=column needs columns.target=<column of the log>")
        chance = log.numbers("target")
        if self.actions is None or self.chances is None:
            return Target(chance)
        missing = [c for c in (self.actions, self.chances) if c not in log.frame.columns]
        if missing:
            raise DataError(
                f"the log has no column {', '.join(missing)}; it has {', '.join(log.frame.columns)}"
            )
        try:
            actions = log.frame[self.actions].cast(pl.List(pl.String))
            chances = log.frame[self.chances].cast(pl.List(pl.Float64))
            even = bool((actions.list.len() == chances.list.len()).fill_null(False).all())
        except pl.exceptions.PolarsError:
            even = False
        if not even:
            raise DataError(
                f"columns {self.actions} and {self.chances} must be lists of equal lengths, of "
                "items and of probabilities"
            )
        return Target(chance, actions.to_list(), chances.to_list())


@dataclass(frozen=True)
class ArtifactTarget:
    """A recommender's artifact as a policy: it shows its best items, or draws by their scores.

    At each place, of the items that are left of its list of k, item i has the chance
    (1 − ε)·softmax(score / T)_i + ε / left; temperature 0 means the best that is left
    (Plackett & Luce's model of rankings, place by place).

    Args:
        path: the artifact's folder, or one that holds versions, of which the one in force counts:
            the champion, or the newest where nobody promoted any.
        history: the log's column of what each user had touched, oldest first: a list, or, where
            it is `features`, the JSON of the gateway's prediction log.
        features: the log's column of features as served, JSON, from which a model that reads
            attributes of users takes them; None, or a column that the log lacks: none were kept.
        users: a table of users, for what those features do not tell; None: there is none.
        temperature: T ≥ 0, in units of the scores.
        epsilon: share of places at which it explores.

    Raises:
        DataError: no such column, or a temperature or epsilon out of range.
        ArtifactError: no artifact there, or a damaged one.
    """

    path: str
    history: str = "features"
    features: str | None = "features"
    users: AttributeTable | None = None
    temperature: float = 0.0
    epsilon: float = 0.0
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 <= self.epsilon <= 1:
            raise DataError(
                f"temperature={self.temperature}, epsilon={self.epsilon}: a temperature of at "
                "least 0 and an epsilon in 0…1 are needed"
            )

    def of(self, log: Log) -> Target:
        loaded = artifact.load(in_force(Path(self.path)))
        names: list[str] = loaded.read_asset("items.json")
        listed, scores = self._ask(loaded, names, log)
        request = log.codes("request_id")
        order = np.lexsort((log.numbers("place"), request))
        shown_items = log.frame["item_id"].to_list()
        chance = np.zeros(len(log))
        actions: list[list[str]] = [[] for _ in range(len(log))]
        chances: list[list[float]] = [[] for _ in range(len(log))]
        above: set[str] = set()
        for place, row in enumerate(order):
            if place and request[row] != request[order[place - 1]]:
                above = set()
            left = [i for i, name in enumerate(listed[row]) if name not in above]
            drawn = self._chances(np.array([scores[row][i] for i in left]))
            actions[row] = [listed[row][i] for i in left]
            chances[row] = drawn.tolist()
            if shown_items[row] in actions[row]:
                chance[row] = drawn[actions[row].index(shown_items[row])]
            above.add(shown_items[row])
        return Target(chance, actions, chances)

    def _chances(self, scores: Array) -> Array:
        if not len(scores):
            return scores
        if self.temperature > 0:
            drawn = np.exp((scores - scores.max()) / self.temperature)
            drawn /= drawn.sum()
        else:
            drawn = np.zeros(len(scores))
            drawn[scores.argmax()] = 1.0
        return np.asarray((1 - self.epsilon) * drawn + self.epsilon / len(scores))

    def _ask(
        self, loaded: artifact.Artifact, names: list[str], log: Log
    ) -> tuple[list[list[str]], list[list[float]]]:
        """For each row, the model's list and its scores; one question a distinct history and user
        as the model knows them.
        """
        code = {name: i + 1 for i, name in enumerate(names)}
        length = int(loaded.signature.limits["history"])
        reads = UserInputs.of(loaded)
        known = known_users(log, reads.fields, self.features, self.users)
        questions = [
            Question(tuple(code[i] for i in history if i in code), json.dumps(user, default=str))
            for history, user in zip(self._histories(log), known, strict=True)
        ]
        told = dict(zip(questions, known, strict=True))
        distinct = list(told)
        answers: dict[Question, tuple[list[str], list[float]]] = {}
        run = session(loaded.model)
        for start in range(0, len(distinct), self.batch_size):
            batch = distinct[start : start + self.batch_size]
            seen = _padded([asked.history for asked in batch])
            history = _padded([asked.history[-length:] for asked in batch])
            users = reads.columns([told[asked] for asked in batch])
            ids, scores = run.run(None, {"history": history, "seen": seen, **users})
            for asked, found, values in zip(batch, ids, scores, strict=True):
                real = values > -1e30  # the wire contract: padding and seen items
                items = [names[i - 1] for i in found[real]]
                answers[asked] = (items, values[real].astype(float).tolist())
        listed = [answers[asked] for asked in questions]
        return [row[0] for row in listed], [row[1] for row in listed]

    def _histories(self, log: Log) -> list[list[str]]:
        if self.history not in log.frame.columns:
            raise DataError(
                f"the log has no column {self.history!r} of histories; it has "
                f"{', '.join(log.frame.columns)}; name one with policy.history=…"
            )
        column = log.frame[self.history]
        if isinstance(column.dtype, pl.List):
            return [h or [] for h in column.cast(pl.List(pl.String)).to_list()]
        return [_served(text, self.history) for text in column.to_list()]


def _served(text: Any, column: str) -> list[str]:
    """The history among features as served: "view:item_ids" → list; nothing read, no history."""
    if text is None:
        return []
    try:
        served = json.loads(text)
        found = [v for k, v in served.items() if k.partition(":")[2] == "item_ids"]
        return [str(i) for i in (found[0] if found else None) or []]
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"column {column!r} holds {str(text)[:80]!r}; a list of item ids, or JSON with a "
            'feature "…:item_ids", is needed'
        ) from error


def _padded(rows: list[tuple[int, ...]]) -> Codes:
    """Left-padded with 0 to the longest, [B, T ≥ 1]."""
    width = max(1, *(len(row) for row in rows))
    return np.array([[0] * (width - len(row)) + list(row) for row in rows], dtype=np.int64)
