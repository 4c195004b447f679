"""What a trained model of texts must beat: majority, TF-IDF or a frozen encoder with regression."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from models.pretrained import mean_states


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


class EncoderFloor:
    """A pretrained encoder as it is, its mean over tokens, and logistic regression.

    Args:
        encoder: see `models.pretrained`.
        strength: inverse of the regularization, scikit-learn's C.
    """

    def __init__(self, encoder: str, strength: float = 1.0, batch_size: int = 128) -> None:
        self.encoder = encoder
        self.strength = strength
        self.batch_size = batch_size
        self._known: dict[str, NDArray[np.float32]] = {}  # folds share most of their texts

    def probabilities(
        self, train: list[str], labels: NDArray[np.int64], test: list[str], classes: int
    ) -> NDArray[np.float64]:
        """[N, C] for the test texts."""
        self._embed(train + test)
        model = LogisticRegression(C=self.strength, max_iter=2000)
        model.fit(np.stack([self._known[t] for t in train]), labels)
        answer = np.zeros((len(test), classes))
        answer[:, model.classes_] = model.predict_proba(np.stack([self._known[t] for t in test]))
        return answer

    def _embed(self, texts: list[str]) -> None:
        new = sorted(set(texts) - self._known.keys(), key=len)
        if not new:
            return
        means = mean_states(self.encoder, new, self.batch_size)
        units = torch.nn.functional.normalize(means, dim=-1)
        self._known |= dict(zip(new, units.numpy(), strict=True))
