"""What the model in force says of a review, as one number, or why it says nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from models.artifact import Artifact, ArtifactError, load
from models.champion import champion
from models.sentiment.answers import Answer
from models.sentiment.local import local_predictor
from models.sentiment.predictor import Predictor

log = logging.getLogger(__name__)


class Judgement(NamedTuple):
    """Of one text.

    Args:
        sentiment: from −1 (the first class) to 1 (the last); None: the text cannot be judged.
        reason: why it cannot be; None otherwise.
    """

    sentiment: float | None
    reason: str | None


@dataclass
class ReviewJudge:
    """Judges texts by an artifact in this process.

    Args:
        root: folder of artifacts.
        name: of the model, whose version in force judges.
        artifact: a folder of this version, always; None: the one in force.
        threads: batches at a time; 0: as many as cores.
        batch_tokens: see `Predictor`.
        languages: a text in another language than the model's cannot be judged.
    """

    root: str
    name: str
    artifact: str | None
    threads: int
    batch_tokens: int
    languages: bool
    _in_force: tuple[Artifact, Predictor] | None = field(default=None, init=False)

    # What says "not now": no model yet, or one that somebody is about to mend.
    outages = (ArtifactError, OSError)

    def refresh(self) -> str:
        """Load the version in force, if another one is loaded; returns it.

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        folder = Path(self.artifact) if self.artifact else champion(Path(self.root), self.name)
        if self._in_force is None or self._in_force[0].path != folder:
            loaded = load(folder)
            predictor = local_predictor(loaded, self.threads, self.batch_tokens)
            self._in_force = loaded, predictor  # at once: another thread may be judging
            log.info("reviews are judged by %s", loaded.path)
        return self._in_force[0].signature.version

    def judge(self, texts: Sequence[str | None]) -> tuple[list[Judgement], str]:
        """One judgement a text, in order, and the version that judged.

        Raises:
            ArtifactError: no model is loaded, and none can be.
        """
        if self._in_force is None:
            self.refresh()
        assert self._in_force is not None
        loaded, predictor = self._in_force
        given = [text for text in texts if text is not None]
        answers = iter(predictor.answers(given, languages=self.languages))
        judged = [
            Judgement(None, "there is no text")
            if t is None
            else _judgement(next(answers), predictor)
            for t in texts
        ]
        return judged, loaded.signature.version


def _judgement(answer: Answer, predictor: Predictor) -> Judgement:
    if not answer.judged:
        return Judgement(None, answer.reason)
    if answer.outside:
        known = predictor.trained_language
        return Judgement(None, f"the text is in {answer.language}, the model knows {known}")
    return Judgement(answer.signed(predictor.classes), None)
