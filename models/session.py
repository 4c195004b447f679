"""How a graph is opened on this processor.

Limits: needs onnxruntime, no torch.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime

# On CPUs, ONNX Runtime's fused addition and normalization takes several times as long as the two
# operators that it replaces: a MiniLM encoder without it runs up to a third faster.
SLOW_FUSIONS = ["SkipLayerNormFusion"]


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An ONNX Runtime CPU session that does not spin while it waits.

    Args:
        threads: inside one operator; 0: as many as cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
    )
