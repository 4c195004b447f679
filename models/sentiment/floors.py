"""What a deep model of texts must beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class MajorityFloor:
    """Answers with the shares of the classes in training."""

    def probabilities(
        self, train: list[str], labels: NDArray[np.int64], test: list[str], classes: int
    ) -> NDArray[np.float64]:
        """[N, C] for the test texts."""
        shares = np.bincount(labels, minlength=classes) / len(labels)
        return np.tile(shares, (len(test), 1))


class TfidfFloor:
    """One- and two-word TF-IDF with logistic regression.

    Args:
        ngrams: the longest sequence of words.
        strength: inverse of the regularization, scikit-learn's C.
    """

    def __init__(self, ngrams: int = 2, strength: float = 4.0) -> None:
        self.ngrams = ngrams
        self.strength = strength

    def probabilities(
        self, train: list[str], labels: NDArray[np.int64], test: list[str], classes: int
    ) -> NDArray[np.float64]:
        """[N, C] for the test texts."""
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, self.ngrams), sublinear_tf=True),
            LogisticRegression(C=self.strength, max_iter=1000),
        )
        model.fit(train, labels)
        answer = np.zeros((len(test), classes))
        answer[:, model.classes_] = model.predict_proba(test)
        return answer
