"""Child: the limit that no server passes: the same file, the same histories, no network.

`python benchmarks/in_process.py <model.onnx> <histories.json> <batch> <seconds>`
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def pad(rows: list[list[int]]) -> np.ndarray:
    """Left-padded with 0 to the longest, [B, T]."""
    width = max(map(len, rows))
    return np.array([[0] * (width - len(row)) + row for row in rows], dtype=np.int64)


def main() -> None:
    model, source, batch, seconds = sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:5])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    histories = json.loads(source.read_text())
    size = int(batch)
    batches = [pad(histories[i : i + size]) for i in range(0, len(histories) - size + 1, size)]
    taken: list[float] = []
    for warm in (True, False):
        end = time.perf_counter() + (1.0 if warm else seconds)
        taken = []
        while time.perf_counter() < end:
            history = batches[len(taken) % len(batches)]
            started = time.perf_counter()
            session.run(None, {"history": history, "seen": history})
            taken.append(time.perf_counter() - started)
    p50, p99 = np.percentile(np.array(taken) * 1000, [50, 99])
    rate = len(taken) * size / sum(taken)
    print(json.dumps({"requests_per_s": rate, "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    main()
