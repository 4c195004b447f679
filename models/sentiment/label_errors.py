"""Labels that are probably wrong, ranked for a person to look at.

Confident learning (Northcutt et al., JAIR 2021) through cleanlab, on probabilities that a model
gives texts it was not trained on: each fold's by a model of the other folds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from models.sentiment.texts import TextError, Texts

log = logging.getLogger(__name__)


class FoldModel(Protocol):
    """Anything that learns from some texts and gives others probabilities: a floor, for one."""

    def probabilities(
        self, train: list[str], labels: NDArray[np.int64], test: list[str], classes: int
    ) -> NDArray[np.float64]: ...


@dataclass
class LabelErrors:
    """Finds them.

    Args:
        folds: of the cross-validation.
    """

    model: FoldModel
    folds: int
    seed: int

    def find(self, texts: Texts, cleaned: list[str]) -> list[dict[str, object]]:
        """Rows of the review file, the most suspicious first.

        Raises:
            TextError: a class has fewer examples than folds.
        """
        probabilities = self._out_of_sample(texts, cleaned)
        issues = find_label_issues(texts.label, probabilities)
        quality = get_label_quality_scores(texts.label, probabilities)
        rows = np.flatnonzero(issues)
        rows = rows[np.argsort(quality[rows], kind="stable")]
        return [
            {
                "key": texts.key[i],
                "label": texts.classes[texts.label[i]],
                "suggested": texts.classes[int(probabilities[i].argmax())],
                "probability": round(float(probabilities[i].max()), 4),
                "quality": round(float(quality[i]), 4),
                "verdict": "",
                "text": texts.text[i],
            }
            for i in rows.tolist()
        ]

    def _out_of_sample(self, texts: Texts, cleaned: list[str]) -> NDArray[np.float64]:
        counts = np.bincount(texts.label, minlength=len(texts.classes))
        if counts.min() < self.folds:
            name = texts.classes[int(counts.argmin())]
            raise TextError(f"class {name!r} has {counts.min()} examples; {self.folds} folds need "
                            "as many")  # fmt: skip
        answer = np.zeros((len(texts), len(texts.classes)))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        for number, (train, test) in enumerate(folds.split(cleaned, texts.label), 1):
            answer[test] = self.model.probabilities(
                [cleaned[i] for i in train], texts.label[train], [cleaned[i] for i in test],
                len(texts.classes),
            )  # fmt: skip
            log.info("fold %d of %d", number, self.folds)
        return answer
