"""Ensembles of trees as tensors, walked level by level, with each field's say on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_LEAF = -1


@dataclass(frozen=True)
class Tree:
    """M nodes of one fitted tree; node 0 is the root.

    Args:
        left: [M] the node where x[feature] ≤ threshold goes to; −1: a leaf.
        right: [M] the node where all else goes to.
        feature: [M] column.
        threshold: [M].
        value: [M] what the tree answers at this node, as a leaf or if it ended there.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]

    def levels(self) -> list[NDArray[np.int64]]:
        """Nodes by depth, siblings side by side."""
        levels = [np.zeros(1, np.int64)]
        while True:
            inner = levels[-1][self.left[levels[-1]] != _LEAF]
            if not len(inner):
                return levels
            levels.append(np.stack([self.left[inner], self.right[inner]], axis=1).ravel())


def raised(steps: Tensor, x: Tensor, expected: Tensor) -> Tensor:
    """[B, F]: the fields that raised the answer, and by how much.

    Where none did, the event is as usual as can be; then by how far each is from what is expected.
    A thousandth of a field's spread is the noise of that, and no distance.
    """
    up = steps.clamp(min=0.0)
    away = torch.square(x - expected)
    away = torch.where(away > 1e-6, away, torch.zeros_like(away))
    return torch.where(up.sum(1, keepdim=True) > 0, up, away)


def mean_of_leaves(
    tree: Tree, leaf: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[M]: each node's mean over the leaves below it, weighted by the events that end in them."""
    value = leaf.astype(np.float64).copy()
    for nodes in reversed(tree.levels()):
        inner = nodes[tree.left[nodes] != _LEAF]
        left, right = tree.left[inner], tree.right[inner]
        both = count[left] + count[right]
        value[inner] = (count[left] * value[left] + count[right] * value[right]) / both
    return value


class TreeEnsemble(nn.Module):
    """Sum over all trees of the leaf's value, and of what each field changed on the way to it.

    Going down a branch moves the tree's answer from one node's value to the next; that step is put
    down to the field that was asked (Saabas, "Interpreting random forests", 2014). The steps of all
    fields and the roots' values sum to the answer.
    """

    child: Tensor  # [M] left child; the right one follows it; a leaf leads to itself
    feature: Tensor
    threshold: Tensor  # infinite at leaves
    table: Tensor  # [M, 1 + F] the value, then each field's steps
    roots: Tensor  # [T]

    def __init__(self) -> None:
        super().__init__()
        for name in ("threshold", "table"):
            self.register_buffer(name, torch.zeros(0))
        for name in ("child", "feature", "roots"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))
        self.depth = 0  # levels to walk

    def grow(self, trees: Sequence[Tree], fields: int) -> None:
        """Take fitted trees over; columns from `fields` on are read but get no share."""
        packed = [_pack(tree, fields) for tree in trees]
        sizes = np.array([len(p.child) for p in packed])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.child = torch.from_numpy(
            np.concatenate([p.child + s for p, s in zip(packed, starts, strict=True)])
        )
        self.feature = torch.from_numpy(np.concatenate([p.feature for p in packed]))
        self.threshold = torch.from_numpy(np.concatenate([p.threshold for p in packed]))
        self.table = torch.from_numpy(np.concatenate([p.table for p in packed]))
        self.roots = torch.from_numpy(starts.astype(np.int64))
        self.depth = max(p.depth for p in packed)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D] → answer [B], steps [B, F]."""
        node = self.roots[None, :] + torch.zeros_like(x[:, :1], dtype=torch.int64)
        for _ in range(self.depth):
            asked = x.gather(1, self.feature[node])
            node = self.child[node] + (asked > self.threshold[node]).to(torch.int64)
        total = self.table[node].sum(1)
        return total[:, 0], total[:, 1:]


@dataclass(frozen=True)
class _Packed:
    child: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    table: NDArray[np.float32]
    depth: int


def _pack(tree: Tree, fields: int) -> _Packed:
    levels = tree.levels()
    order = np.concatenate(levels)
    place = np.empty(len(tree.left), np.int64)
    place[order] = np.arange(len(order))
    steps = np.zeros((len(tree.left), fields))
    for nodes in levels:
        inner = nodes[tree.left[nodes] != _LEAF]
        asked = tree.feature[inner]
        judged = asked < fields
        for child in (tree.left[inner], tree.right[inner]):
            steps[child] = steps[inner]
            gain = (tree.value[child] - tree.value[inner])[judged]
            steps[child[judged], asked[judged]] += gain
    leaf = tree.left[order] == _LEAF
    return _Packed(
        child=np.where(leaf, np.arange(len(order)), place[tree.left[order]]),
        feature=np.where(leaf, 0, tree.feature[order]).astype(np.int64),
        threshold=np.where(leaf, np.float32(np.inf), _rounded_down(tree.threshold[order])),
        table=np.column_stack([tree.value[order], steps[order]]).astype(np.float32),
        depth=len(levels) - 1,
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: float32 values then compare as with the original."""
    near = threshold.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > threshold, below, near)
