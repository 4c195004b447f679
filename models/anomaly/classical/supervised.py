"""Random forest and gradient boosting: for data whose anomalies somebody has marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.model import ClassicalModel, inputs, matrix
from models.anomaly.classical.trees import Tree, TreeEnsemble, mean_of_leaves, raised
from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared
from models.anomaly.telemetry import NORMAL


class _Supervised(ClassicalModel):
    """Learns the difference between rows labelled normal and rows labelled anomalous.

    Raw score: log-odds of the class that is anomalous. A field's part is by how much the questions
    asked of it raised the answer.

    Args:
        estimator: makes the scikit-learn classifier.
        likeness: gives what is expected, from the normal rows.
    """

    supervised = True

    def __init__(self, estimator: Callable[..., Any], likeness: Likeness) -> None:
        super().__init__()
        self.estimator = estimator
        self.likeness = likeness
        self.trees = TreeEnsemble()

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        x = matrix(prepared)
        self.grow(self.estimator().fit(x, label), prepared.x.shape[1])
        self.likeness.learn(x[label == NORMAL])

    def grow(self, fitted: Any, fields: int) -> None:
        raise NotImplementedError


class RandomForest(_Supervised):
    """Breiman, "Random Forests", 2001; scikit-learn's `RandomForestClassifier`.

    The share of trees that say so is kept from 0 and 1 by half a vote: log-odds are finite.
    """

    def grow(self, fitted: Any, fields: int) -> None:
        n = len(fitted.estimators_)
        self.trees.grow([_voter(e.tree_, n) for e in fitted.estimators_], fields)

    def assess(self, prepared: Prepared) -> Assessment:
        share, steps = self.trees(inputs(prepared))
        half = 0.5 / len(self.trees.roots)
        raw = torch.log(share + half) - torch.log(1.0 - share + half)
        expected = self.likeness(prepared)
        return Assessment(raw, raised(steps, prepared.x, expected), expected)


class GradientBoosting(_Supervised):
    """Friedman, "Greedy Function Approximation", 2001; `HistGradientBoostingClassifier`."""

    start: torch.Tensor  # log-odds before the first tree

    def grow(self, fitted: Any, fields: int) -> None:
        trees = [_addend(p.nodes) for stage in fitted._predictors for p in stage]
        self.trees.grow(trees, fields)
        self.start = torch.tensor(float(np.ravel(fitted._baseline_prediction)[0]))

    def __init__(self, estimator: Callable[..., Any], likeness: Likeness) -> None:
        super().__init__(estimator, likeness)
        self.register_buffer("start", torch.zeros(()))

    def assess(self, prepared: Prepared) -> Assessment:
        total, steps = self.trees(inputs(prepared))
        expected = self.likeness(prepared)
        raw = total + self.start
        return Assessment(raw, raised(steps, prepared.x, expected), expected)


def _voter(fitted: Any, trees: int) -> Tree:
    """One of so many trees: its vote, from the weighted shares of the classes at each node."""
    classes = fitted.value[:, 0, :]
    return Tree(
        left=fitted.children_left.astype(np.int64),
        right=fitted.children_right.astype(np.int64),
        feature=np.maximum(fitted.feature, 0).astype(np.int64),
        threshold=fitted.threshold,
        value=classes[:, 1] / classes.sum(axis=1) / trees,
    )


def _addend(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    bare = Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"]).astype(np.int64),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        value=nodes["value"],
    )
    value = mean_of_leaves(bare, nodes["value"], nodes["count"].astype(np.float64))
    return Tree(bare.left, bare.right, bare.feature, bare.threshold, value)
