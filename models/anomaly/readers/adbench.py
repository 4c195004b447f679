"""ADBench's files: a matrix `X` and labels `y` (1: anomalous), without times.

Han et al., "ADBench: Anomaly Detection Benchmark", NeurIPS 2022.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.anomaly.telemetry import ANOMALOUS, NORMAL, Telemetry, TelemetryError
from models.recommender.readers.files import find


@dataclass
class ADBenchReader:
    """Read one `.npz` file.

    Args:
        path: the file, or a folder that holds one.
    """

    path: str | Path

    def read(self) -> Telemetry:
        """Fields are x0, x1, …; the row's number is its time.

        Raises:
            MissingInputError: no such file.
            TelemetryError: not such a file, or labels other than 0 and 1.
        """
        file = find(self.path, ("*.npz",))
        try:
            with np.load(file) as content:
                values, label = np.asarray(content["X"], np.float64), content["y"].ravel()
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise TelemetryError(f"{file}: not an ADBench file of X and y ({error})") from error
        other = set(np.unique(label)) - {NORMAL, ANOMALOUS}
        if other:
            raise TelemetryError(f"{file}: label {sorted(other)[0]}; 0 and 1 are accepted")
        return Telemetry.of(values, label=label.astype(np.int8))
