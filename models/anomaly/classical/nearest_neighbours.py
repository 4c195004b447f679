"""k-nearest-neighbours: an event far from every normal one is anomalous."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.anomaly.classical.distances import nearest
from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.model import ClassicalModel, inputs, matrix, some
from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared


class NearestNeighbours(ClassicalModel):
    """Raw score: the mean distance to the k nearest normal events.

    Ramaswamy et al., "Efficient Algorithms for Mining Outliers from Large Data Sets", SIGMOD 2000;
    the mean in place of the largest: Angiulli and Pizzuti, PKDD 2002.

    Args:
        neighbours: k; fewer where there are not as many events.
        rows: normal events remembered, in the graph too; a random sample where there are more.
        likeness: gives what is expected.
        seed: which events are remembered.
    """

    memory: Tensor

    def __init__(self, neighbours: int, rows: int, likeness: Likeness, seed: int = 0) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.rows = rows
        self.likeness = likeness
        self.seed = seed
        self.register_buffer("memory", torch.zeros(0))

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        x = matrix(prepared)
        self.memory = torch.from_numpy(some(x, self.rows, self.seed).copy())
        self.likeness.learn(x)

    def assess(self, prepared: Prepared) -> Assessment:
        k = min(self.neighbours, len(self.memory))
        found = nearest(inputs(prepared), self.memory, k)
        parts = found.gap[:, :, : prepared.x.shape[1]].square().mean(1)
        return Assessment(found.distance.mean(1), parts, self.likeness(prepared))
