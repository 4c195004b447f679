"""A detector whose answers can be computed by hand, as an artifact of the contract's shape.

Expected is the event before the newest one, or 50 where there is none; a field's contribution is a
tenth of its distance from that; the score is their sum, and infinite for enormous values.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models import artifact
from models.artifact import Signature, Tensor

FIELDS = ["cpu_usage", "memory"]
THRESHOLD = 3.0
VERSION = "20260202-000000-000"


def detector_graph(path: Path, window: int) -> None:
    width = len(FIELDS)
    nodes = [
        helper.make_node("Gather", ["values", "last"], ["newest"], axis=1),
        helper.make_node("Gather", ["values", "before"], ["earlier"], axis=1)
        if window > 1
        else helper.make_node("Mul", ["newest", "nan"], ["earlier"]),
        helper.make_node("IsNaN", ["earlier"], ["no_earlier"]),
        helper.make_node("Where", ["no_earlier", "usual", "earlier"], ["expected"]),
        helper.make_node("IsNaN", ["newest"], ["no_newest"]),
        helper.make_node("Where", ["no_newest", "expected", "newest"], ["seen"]),
        helper.make_node("Sub", ["seen", "expected"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Mul", ["distance", "tenth"], ["contributions"]),
        helper.make_node("Mul", ["contributions", "thousand"], ["large"]),
        helper.make_node("ReduceSum", ["large", "axis"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "thousand"], ["untimed"]),
        # The time must be used, or it is no input of the graph.
        helper.make_node("Cast", ["time"], ["moment"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["moment", "zero"], ["nothing"]),
        helper.make_node("Add", ["untimed", "nothing"], ["score"]),
    ]
    floats = {"usual": 50.0, "nan": np.nan, "tenth": 0.1, "thousand": 1000.0, "zero": 0.0}
    constants = [numpy_helper.from_array(np.float32(v), k) for k, v in floats.items()]
    constants += [
        numpy_helper.from_array(np.int64(-1), "last"),
        numpy_helper.from_array(np.int64(-2), "before"),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", window, width]),
            helper.make_tensor_value_info("time", TensorProto.INT64, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("contributions", TensorProto.FLOAT, ["batch", width]),
            helper.make_tensor_value_info("expected", TensorProto.FLOAT, ["batch", width]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def make_detector(root: Path, window: int = 1, version: str = VERSION) -> Path:
    """Publish it as `root/artifacts/anomaly/<version>`."""
    parts = root / f"parts-{version}"
    (parts / "assets").mkdir(parents=True)
    detector_graph(parts / "model.onnx", window)
    (parts / "assets" / "fields.json").write_text(json.dumps(FIELDS))
    scores = [n / 100 for n in range(200)]
    threshold = {"threshold": THRESHOLD, "scores": scores}
    (parts / "assets" / "threshold.json").write_text(json.dumps(threshold))
    (parts / "metrics.json").write_text("{}")
    width = len(FIELDS)
    signature = Signature(
        name="anomaly",
        version=version,
        task="anomaly",
        inputs=(
            Tensor("values", "float32", ("batch", window, width)),
            Tensor("time", "int64", ("batch",)),
        ),
        outputs=(
            Tensor("score", "float32", ("batch",)),
            Tensor("contributions", "float32", ("batch", width)),
            Tensor("expected", "float32", ("batch", width)),
        ),
        opset=18,
        limits={"window": window},
    )
    return artifact.write(parts, root / "artifacts", signature).path
