"""A sentiment artifact that answers: serving, batch scoring, distillation and tests all use this.

Limits: the graph comes from its caller; neither torch nor transformers is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.artifact import Artifact
from models.sentiment.answers import UNSURE, Answer, lead, pooled, softmax
from models.sentiment.language import detect
from models.sentiment.text_reader import Reading, TextReader

Array = NDArray[np.generic]


class Run(Protocol):
    """The graph: {"ids": [B, T] int64, 0-padded} → [logits [B, C]]; called from several threads."""

    def __call__(self, feed: Mapping[str, Array], /, *, exact: bool) -> Sequence[Array]:
        """exact: by the float32 graph, where the artifact brings one beside its 8-bit weights."""


class Predictor:
    """Answers texts.

    Where the artifact has 8-bit weights, texts whose classes are nearly even are read again in
    float32: those are the ones whose answer rounding could change.

    Args:
        batch_tokens: padded tokens of one run of the graph; batches hold texts of like length. Of a
            few hundred, all that an encoder makes of them stays in a core's cache.
        workers: batches at a time.
        explained_tokens: tokens of a text that are explained, the first ones.
    """

    def __init__(
        self,
        artifact: Artifact,
        run: Run,
        batch_tokens: int = 256,
        workers: int = 1,
        explained_tokens: int = 128,
    ) -> None:
        self.reader = TextReader.of(artifact)
        settings = artifact.read_asset("reading.json")
        self.classes: list[str] = settings["classes"]
        self.abstain_below: float = settings["abstain_below"]
        self.exact_below: float = settings.get("exact_below", 0.0)  # older artifacts have none
        self.trained_language: str | None = settings["language"]
        self.run = run
        self.batch_tokens = batch_tokens
        self.workers = workers
        self.explained_tokens = explained_tokens

    def answers(
        self, texts: Sequence[str], explain: bool = False, languages: bool = True
    ) -> list[Answer]:
        """One answer a text, in order.

        Args:
            explain: also say how much each token moves the leading class's probability, by leaving
                it unknown; costs a run for each token.
            languages: detect them.
        """
        readings = self.reader.read(texts)
        probabilities = softmax(self._logits(readings))
        answers = [
            self._answer(text, reading, row, languages)
            for text, reading, row in zip(texts, readings, probabilities, strict=True)
        ]
        if explain:
            for reading, answer in zip(readings, answers, strict=True):
                answer.explanation = self._explanation(reading)
        return answers

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """[N, C], calibrated; of a text's pieces, the mean weighted by their words."""
        return self._logits(self.reader.read(texts))

    def _logits(self, readings: Sequence[Reading]) -> NDArray[np.float64]:
        logits = self._read(readings, exact=False)
        if self.exact_below:
            even = np.flatnonzero(lead(logits) < self.exact_below).tolist()
            if even:
                logits[even] = self._read([readings[i] for i in even], exact=True)
        return logits

    def _read(self, readings: Sequence[Reading], exact: bool) -> NDArray[np.float64]:
        pieces = [piece for reading in readings for piece in reading.pieces]
        sizes = [size for reading in readings for size in reading.sizes]
        owner = [i for i, reading in enumerate(readings) for _ in reading.pieces]
        return pooled(self._run_sorted(pieces, exact), owner, sizes, len(readings))

    def _run_sorted(self, pieces: Sequence[Sequence[int]], exact: bool) -> NDArray[np.float64]:
        answer = np.zeros((len(pieces), len(self.classes)))

        def fill(rows: list[int]) -> None:
            width = max(1, len(pieces[rows[-1]]))
            ids = np.zeros((len(rows), width), dtype=np.int64)
            for target, row in zip(ids, rows, strict=True):
                target[: len(pieces[row])] = pieces[row]
            answer[rows] = self.run({"ids": ids}, exact=exact)[0]

        batches = list(self._batches([len(p) for p in pieces]))
        batches.reverse()  # the longest first: workers then end together
        if self.workers == 1 or len(batches) == 1:
            for rows in batches:
                fill(rows)
        else:  # a batch each is faster than all threads in each operator of one batch
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(fill, batches))
        return answer

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows sorted by length, as many together as `batch_tokens` padded tokens allow."""
        batch: list[int] = []
        for row in np.argsort(lengths, kind="stable").tolist():
            if batch and (len(batch) + 1) * max(1, lengths[row]) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _answer(
        self, text: str, reading: Reading, probabilities: NDArray[np.float64], languages: bool
    ) -> Answer:
        reason = None
        if not sum(reading.sizes):
            reason = "no text is left after cleaning"
        elif not reading.known:
            reason = "none of its words is known to the model"
        judged = reason is None
        if not judged:
            probabilities = np.full(len(self.classes), 1 / len(self.classes))
        elif probabilities.max() < self.abstain_below:
            reason = f"the leading class has less than {self.abstain_below:.2f}"
        trained = self.trained_language
        found = detect(text) if languages and trained else None
        return Answer(
            label=UNSURE if reason else self.classes[int(probabilities.argmax())],
            probabilities=dict(zip(self.classes, probabilities.tolist(), strict=True)),
            abstained=reason is not None,
            reason=reason,
            pieces=len(reading.pieces),
            language=found.code if found else None,
            outside=bool(found and trained and found.excludes(trained)),
            judged=judged,
        )

    def explain(self, text: str) -> list[tuple[str, float]]:
        """Each of the first tokens and its effect on the answer."""
        return self._explanation(self.reader.read([text])[0])

    def _explanation(self, reading: Reading) -> list[tuple[str, float]]:
        """Occlusion: the leading class's probability, less what is left with a token unknown.

        The leading class is the whole text's: of a long text, other pieces weigh as they do in its
        answer.
        """
        tokens = self.reader.tokens(reading)[: self.explained_tokens]
        if not tokens:
            return []
        before, unknown = len(self.reader.before), self.reader.unknown
        whole = self._run_sorted(reading.pieces, exact=True)
        changed: list[list[int]] = []
        owner: list[int] = []
        for number, (piece, size) in enumerate(zip(reading.pieces, reading.sizes, strict=True)):
            for place in range(min(size, len(tokens) - len(changed))):
                at = before + place
                changed.append([*piece[:at], unknown, *piece[at + 1 :]])
                owner.append(number)
        share = np.array(reading.sizes, dtype=np.float64) / sum(reading.sizes)
        logits = share @ whole
        moved = (self._run_sorted(changed, exact=True) - whole[owner]) * share[owner, None]
        leading = int(logits.argmax())
        effects = softmax(logits)[leading] - softmax(logits + moved)[:, leading]
        return list(zip(tokens, effects.tolist(), strict=True))
