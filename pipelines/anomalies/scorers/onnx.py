"""ONNX Runtime in process.

Contributions and expected values are computed only for the events that ask for them: a graph is
mostly one path to the score, and few events alarm.
"""

from __future__ import annotations

import logging

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.scorers.scorer import Explanation, Scored, Seconds, Windows, isolate

log = logging.getLogger(__name__)


class OnnxScorer:
    """See `Scorer`.

    Args:
        threads: of one call; processors are the way to use more cores.
        most_windows: of one call; bounds memory.
        most_failures: see `isolate`.
        providers: of ONNX Runtime, first choice first.

    Raises:
        ValueError: a provider that is not here.
    """

    def __init__(
        self,
        model: AnomalyModel,
        threads: int,
        most_windows: int,
        most_failures: int,
        providers: list[str],
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        absent = [p for p in providers if p not in available]
        if absent:  # ONNX Runtime itself would quietly go on with the CPU
            raise ValueError(f"execution providers {absent} are not here; there are {available}")
        self._session = onnxruntime.InferenceSession(
            str(model.artifact.model), options, providers=list(providers)
        )
        self._only = onnxruntime.RunOptions()
        self._only.only_execute_path_to_fetches = True
        self._most_windows = most_windows
        self._most_failures = most_failures

    def score(self, values: Windows, time: Seconds) -> Scored:
        score, failed = isolate(self._scores, values, time, self._most_failures)

        def explain(rows: NDArray[np.intp]) -> Explanation:
            return self._explain(values[rows], time[rows])

        return Scored(score, failed, explain)

    def _scores(self, values: Windows, time: Seconds) -> NDArray[np.float32]:
        found = np.empty(len(values), np.float32)
        for n in range(0, len(values), self._most_windows):
            some = slice(n, n + self._most_windows)
            (found[some],) = self._run(["score"], values[some], time[some])
        return found

    def _explain(self, values: Windows, time: Seconds) -> Explanation:
        width = values.shape[2]
        found = Explanation(*(np.empty((len(values), width), np.float32) for _ in range(2)))
        for n in range(0, len(values), self._most_windows):
            some = slice(n, n + self._most_windows)
            outputs = self._run(["contributions", "expected"], values[some], time[some])
            for whole, part in zip(found, outputs, strict=True):
                whole[some] = part
        return found

    def _run(self, names: list[str], values: Windows, time: Seconds) -> list[NDArray[np.float32]]:
        inputs = {"values": np.ascontiguousarray(values), "time": time}
        outputs: list[NDArray[np.float32]] = self._session.run(names, inputs, self._only)
        return outputs

    def close(self) -> None:
        """Nothing is held."""
