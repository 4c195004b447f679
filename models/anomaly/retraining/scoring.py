"""Telemetry through an artifact's graph, as serving runs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.anomaly.telemetry import Telemetry, TelemetryError
from models.artifact import Artifact, ArtifactError
from models.session import session


class ArtifactScorer:
    """One artifact of task `anomaly`.

    Args:
        fields: the telemetry's; the artifact's may be in another order or fewer.

    Raises:
        ArtifactError: another task.
        TelemetryError: a field that the telemetry lacks.
    """

    def __init__(self, artifact: Artifact, fields: tuple[str, ...], batch: int = 4096) -> None:
        signature = artifact.signature
        if signature.task != "anomaly":
            raise ArtifactError(f"{artifact.path}: task {signature.task!r}, not 'anomaly'")
        self.window = int(signature.limits["window"])
        wanted = list(artifact.read_asset("fields.json"))
        absent = [name for name in wanted if name not in fields]
        if absent:
            raise TelemetryError(
                f"{artifact.path} reads field {absent[0]!r}, which the telemetry lacks; it has "
                f"{list(fields)}"
            )
        self._columns = [fields.index(name) for name in wanted]
        self.threshold = float(artifact.read_asset("threshold.json")["threshold"])
        self._session = session(artifact.model)
        self._batch = batch

    def score(self, windows: NDArray[np.float32], time: NDArray[np.int64]) -> NDArray[np.float64]:
        """[N] of windows [N, T, F] with all the telemetry's fields; T is the graph's or longer."""
        parts = [np.zeros(0)]
        for first in range(0, len(windows), self._batch):
            part = slice(first, first + self._batch)
            values = np.ascontiguousarray(windows[part, -self.window :][:, :, self._columns])
            feed = {"values": values, "time": time[part]}
            parts.append(self._session.run(["score"], feed)[0].astype(np.float64))
        return np.concatenate(parts)


def windows_at(telemetry: Telemetry, length: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """As `Telemetry.windows`, but of some rows only: [N, T, F]."""
    places = rows[:, None] - np.arange(length - 1, -1, -1)  # [N, T]
    inside = places >= 0
    places = np.maximum(places, 0)
    inside &= telemetry.source[places] == telemetry.source[rows][:, None]
    windows: NDArray[np.float32] = telemetry.values[places]
    windows[~inside] = np.nan
    return windows
