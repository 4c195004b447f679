"""Local outlier factor: an event in a sparser place than its neighbours are is anomalous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.anomaly.classical.distances import nearest
from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.model import ClassicalModel, inputs, matrix, some
from models.anomaly.event_model import Assessment
from models.anomaly.preparation import Prepared
from models.anomaly.telemetry import TelemetryError

_LEAST_REACH = 1e-10  # scikit-learn's: repeated rows have no distance, and so no density


class LocalOutlier(ClassicalModel):
    """Raw score: the logarithm of the factor, which repeated rows can drive to 1e10.

    Breunig et al., "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000.

    Args:
        estimator: makes scikit-learn's `LocalOutlierFactor`, given novelty and n_neighbors.
        neighbours: k; fewer where there are not as many events.
        rows: normal events remembered, in the graph too; a random sample where there are more.
        likeness: gives what is expected.
        seed: which events are remembered.
    """

    memory: Tensor
    reach: Tensor  # of each remembered event, to its k-th neighbour
    density: Tensor  # its local reachability density

    def __init__(
        self,
        estimator: Callable[..., Any],
        neighbours: int,
        rows: int,
        likeness: Likeness,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.neighbours = neighbours
        self.rows = rows
        self.likeness = likeness
        self.seed = seed
        for name in ("memory", "reach", "density"):
            self.register_buffer(name, torch.zeros(0))

    def learn(self, prepared: Prepared, label: NDArray[np.int8]) -> None:
        x = matrix(prepared)
        rows = some(x, self.rows, self.seed)
        if len(rows) < 2:
            raise TelemetryError("1 normal row; a local outlier factor needs at least 2")
        k = min(self.neighbours, len(rows) - 1)
        fitted = self.estimator(novelty=True, n_neighbors=k).fit(rows)
        self.memory = torch.from_numpy(rows.copy())
        # Public methods give both: the neighbours of the rows themselves, and their reach.
        distance, index = fitted.kneighbors()
        reach = distance[:, -1]
        reached = np.maximum(distance, reach[index]).mean(1)
        self.reach = torch.from_numpy(reach).float()
        self.density = torch.from_numpy(1.0 / np.maximum(reached, _LEAST_REACH)).float()
        self.likeness.learn(x)

    def assess(self, prepared: Prepared) -> Assessment:
        k = min(self.neighbours, len(self.memory) - 1)
        found = nearest(inputs(prepared), self.memory, k)
        reached = torch.maximum(found.distance, self.reach[found.rows]).mean(1)
        density = torch.log(self.density[found.rows].mean(1))
        raw = density + torch.log(reached.clamp(min=_LEAST_REACH))
        parts = found.gap[:, :, : prepared.x.shape[1]].square().mean(1)
        return Assessment(raw, parts, self.likeness(prepared))
