"""What every peer's server does with a request: histories of codes in, ids and scores out.

Kinder to the peers than to us: they get a history ready to run, in graph ids, while our gateway
gets a user id, reads the history from Feast and turns item ids into codes and back.
"""

from __future__ import annotations

import numpy as np
import onnxruntime


class Model:
    """The ONNX file with one thread, as in our handler."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def rank(self, histories: list[list[int]]) -> list[dict[str, list[float]]]:
        width = max(map(len, histories))
        padded = np.array([[0] * (width - len(h)) + h for h in histories], dtype=np.int64)
        ids, scores = self.session.run(None, {"history": padded, "seen": padded})
        return [
            {"items": i[:10].tolist(), "scores": s[:10].tolist()}
            for i, s in zip(ids, scores, strict=True)
        ]
