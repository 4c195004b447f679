"""What a large model teaches a small one: its logits on the training texts and variations of them.

After Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"
(2019): words masked at random and n-grams drawn at random multiply a small training set; the
teacher's logits, not labels, are what the student learns.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models import artifact
from models.sentiment.local import local_predictor
from models.sentiment.predictor import Predictor
from models.sentiment.texts import TextError

if TYPE_CHECKING:
    from models.sentiment.datamodule import TextsDataModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferSet:
    """Token ids, labels (−1 for variations) and the teacher's logits [N, C]."""

    ids: list[list[int]]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]


@dataclass
class Teacher:
    """Makes a transfer set from a data module's training texts.

    Args:
        artifact: folder of the teacher, whose classes must be the data's; null is an error.
        variations: of each training text.
        mask: probability of a word becoming unknown.
        ngram: probability that a variation is an n-gram of one to `longest` words.
        cache: folder for the teacher's logits, which cost most of the time; null: none.
    """

    artifact: str | None
    variations: int
    mask: float
    ngram: float
    longest: int
    cache: str | None
    seed: int = 0

    def __call__(self, data: TextsDataModule) -> TransferSet:
        """Raises `TextError` where teacher and data do not belong together."""
        if self.artifact is None:
            raise TextError("distillation needs a teacher: datamodule.teacher.artifact=<folder>")
        loaded = artifact.load(Path(self.artifact))
        teacher = local_predictor(loaded)
        if teacher.classes != list(data.texts.classes):
            raise TextError(
                f"the teacher knows {teacher.classes}, the data has {list(data.texts.classes)}"
            )
        rows = data.split.train
        originals = [data.cleaner(data.texts.text[r]) for r in rows]
        varied = list(self._vary(originals))
        log.info("teacher: %d texts and %d variations", len(originals), len(varied))
        # The teacher sees its own unknown sign where the student sees an unknown word.
        logits = self._logits(teacher, originals + varied, loaded.signature.version)
        labels = np.concatenate([data.texts.label[rows], np.full(len(varied), -1)])
        readings = data.text_reader.read(originals + varied)
        return TransferSet(
            [r.pieces[0] for r in readings], labels.astype(np.int64), logits.astype(np.float32)
        )

    def _vary(self, texts: list[str]) -> Iterator[str]:
        rng = np.random.default_rng(self.seed)
        for text in texts:
            words = text.split()
            for _ in range(self.variations):
                chosen = words
                if rng.random() < self.ngram and len(words) > 2:
                    length = int(rng.integers(1, min(self.longest, len(words)) + 1))
                    start = int(rng.integers(0, len(words) - length + 1))
                    chosen = words[start : start + length]
                masked = [w for w in chosen if rng.random() >= self.mask]
                yield " ".join(masked or chosen)

    def _logits(self, teacher: Predictor, texts: list[str], version: str) -> NDArray[np.float64]:
        if self.cache is None:
            return self._ask(teacher, texts)
        digest = hashlib.sha256("\0".join([version, *texts]).encode()).hexdigest()[:16]
        file = Path(self.cache) / f"{digest}.npy"
        if file.is_file():
            found: NDArray[np.float64] = np.load(file, allow_pickle=False)
            return found
        logits = self._ask(teacher, texts)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, logits, allow_pickle=False)
        return logits

    @staticmethod
    def _ask(teacher: Predictor, texts: list[str], step: int = 2000) -> NDArray[np.float64]:
        parts = []
        for start in range(0, len(texts), step):
            parts.append(teacher.logits(texts[start : start + step]))
            log.info("teacher: %d of %d texts", min(start + step, len(texts)), len(texts))
        return np.concatenate(parts)
