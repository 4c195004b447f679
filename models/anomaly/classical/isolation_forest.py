"""Isolation forest: an event that few random cuts set apart from all others is anomalous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.model import ClassicalModel, inputs, matrix
from models.anomaly.classical.trees import Tree, TreeEnsemble, mean_of_leaves, raised
from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared


class Isolation(ClassicalModel):
    """Raw score: 2^(−mean cuts / cuts expected of as many events).

    A field's part is by how much its cuts shortened the way.

    Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.

    Args:
        estimator: makes scikit-learn's `IsolationForest`.
        likeness: gives what is expected.
    """

    usual: Tensor  # cuts of all trees expected

    def __init__(self, estimator: Callable[..., Any], likeness: Likeness) -> None:
        super().__init__()
        self.estimator = estimator
        self.likeness = likeness
        self.trees = TreeEnsemble()
        self.register_buffer("usual", torch.zeros(0))

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        x = matrix(prepared)
        fitted = self.estimator().fit(x)
        columns = zip(fitted.estimators_, fitted.estimators_features_, strict=True)
        self.trees.grow([_tree(e.tree_, used) for e, used in columns], prepared.x.shape[1])
        usual = len(fitted.estimators_) * _cuts(np.array([fitted.max_samples_]))[0]
        self.usual = torch.tensor(usual, dtype=torch.float32)
        self.likeness.learn(x)

    def assess(self, prepared: Prepared) -> Assessment:
        cuts, steps = self.trees(inputs(prepared))
        raw = torch.exp2(-cuts / self.usual)
        expected = self.likeness(prepared)
        return Assessment(raw, raised(-steps, prepared.x, expected), expected)


def _cuts(events: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean cuts that set one of so many events apart: as in an unsuccessful binary search."""
    n = np.maximum(events.astype(np.float64), 2.0)
    many = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(events <= 1, 0.0, np.where(events == 2, 1.0, many))


def _tree(fitted: Any, columns: NDArray[np.integer]) -> Tree:
    left = fitted.children_left.astype(np.int64)
    bare = Tree(
        left=left,
        right=fitted.children_right.astype(np.int64),
        feature=np.asarray(columns)[np.maximum(fitted.feature, 0)].astype(np.int64),
        threshold=fitted.threshold,
        value=np.zeros(len(left)),
    )
    count = fitted.n_node_samples.astype(np.float64)
    leaf = _cuts(fitted.n_node_samples)
    for depth, nodes in enumerate(bare.levels()):
        leaf[nodes] += depth
    return Tree(
        bare.left, bare.right, bare.feature, bare.threshold, mean_of_leaves(bare, leaf, count)
    )
