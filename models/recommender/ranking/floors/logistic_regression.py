"""Logistic regression over one-hot categories and scaled numbers: the first floor."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Regression

from models.recommender.ranking.examples import Examples
from models.recommender.ranking.nets.net import DenseInput
from models.recommender.ranking.shape import Shape


class LogisticRegression:
    """L2-regularized, by L-BFGS.

    Args:
        strength: C of scikit-learn, the inverse of the regularization.
    """

    def __init__(self, strength: float = 0.1, iterations: int = 200) -> None:
        self.regression = Regression(C=strength, max_iter=iterations)

    def fit(self, shape: Shape, train: Examples, validation: Examples) -> None:
        self.shape = shape
        with warnings.catch_warnings():  # near its optimum the last digits do not matter
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.regression.fit(self._matrix(train), train.label.numpy())

    def probabilities(self, examples: Examples) -> np.ndarray:
        """[N]."""
        found: np.ndarray = self.regression.predict_proba(self._matrix(examples))[:, 1]
        return found

    def _matrix(self, examples: Examples) -> sparse.csr_matrix:
        """[N, dense and marks, then each field's table rows]; a bag counts by its mean."""
        rows = {f: table.rows for table in self.shape.tables for f in table.fields}
        with torch.no_grad():
            parts = [sparse.csr_matrix(DenseInput(self.shape)(examples.dense).numpy())]
        for name, bag in zip(examples.names, examples.bags, strict=True):
            n = len(examples)
            offsets = np.arange(n + 1) if bag.offsets is None else bag.offsets.numpy()
            lengths = np.diff(offsets)
            weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
            parts.append(sparse.csr_matrix((weights, bag.values.numpy(), offsets), (n, rows[name])))
        return sparse.csr_matrix(sparse.hstack(parts))
