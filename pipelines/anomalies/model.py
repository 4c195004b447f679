"""The model in force, as the processor needs it: an artifact's fields, window and normal scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import artifact
from models.artifact import Artifact, ArtifactError

TASK = "anomaly"


@dataclass(frozen=True)
class AnomalyModel:
    """Args:
    fields: in the order of the graph's columns.
    window: T of the graph.
    normal_scores: of held-out normal events, where a new source's threshold begins.
    """

    artifact: Artifact
    fields: tuple[str, ...]
    window: int
    normal_scores: NDArray[np.float64]

    @property
    def name(self) -> str:
        return self.artifact.signature.name

    @property
    def version(self) -> str:
        return self.artifact.signature.version


def load(path: Path) -> AnomalyModel:
    """Open a version; its files are checked.

    Raises:
        ArtifactError: damaged, of another task, or without what is needed here.
    """
    found = artifact.load(path)
    signature = found.signature
    if signature.task != TASK:
        raise ArtifactError(f"{path} is for task {signature.task!r}; the stream needs {TASK!r}")
    window = signature.limits.get("window", 0)
    if window < 1:
        raise ArtifactError(f"{path}: limits have no window of at least 1, but {signature.limits}")
    fields = tuple(found.read_asset("fields.json"))
    scores = np.asarray(found.read_asset("threshold.json")["scores"], dtype=np.float64)
    return AnomalyModel(found, fields, int(window), scores)
