"""A small detector, a threshold that learns, and telemetry to try the stream processor with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models import artifact
from models.artifact import Artifact, Signature, Tensor

FIELDS = ("cpu", "memory")


def detector(
    root: Path,
    version: str = "1",
    window: int = 3,
    fields: Sequence[str] = FIELDS,
    normal: float = 1.0,
) -> Artifact:
    """An artifact whose score is how far the newest event is from its window's mean, missing as 0.

    A first field of 12345 is one that the graph cannot compute, 54321 one that it scores as NaN.
    """
    width = len(fields)
    floats, longs = TensorProto.FLOAT, TensorProto.INT64
    constants = {
        "zero": np.zeros(1, np.float32),
        "poison": np.array(12345.0, np.float32),
        "strange": np.array(54321.0, np.float32),
        "nan": np.array(np.nan, np.float32),
        "last": np.array(window - 1),
        "first": np.array(0),
        "far": np.array(10**6),
        "one": np.array([1]),
    }
    node = helper.make_node
    nodes = [
        node("IsNaN", ["values"], ["missing"]),
        node("Where", ["missing", "zero", "values"], ["filled"]),
        node("ReduceMean", ["filled", "one"], ["expected"], keepdims=0),
        node("Gather", ["filled", "last"], ["newest"], axis=1),
        node("Sub", ["newest", "expected"], ["change"]),
        node("Abs", ["change"], ["contributions"]),
        node("ReduceSum", ["contributions", "one"], ["sum"], keepdims=0),
        node("Gather", ["newest", "first"], ["leading"], axis=1),
        node("Equal", ["leading", "strange"], ["odd"]),
        node("Where", ["odd", "nan", "sum"], ["told"]),
        # An index far out of range where there is poison: ONNX Runtime refuses the batch.
        node("Equal", ["leading", "poison"], ["bad"]),
        node("Cast", ["bad"], ["number"], to=longs),
        node("Mul", ["number", "far"], ["index"]),
        node("Gather", ["zero", "index"], ["nothing"], axis=0),
        node("Add", ["told", "nothing"], ["score"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "detector",
        [value("values", floats, ["B", window, width]), value("time", longs, ["B"])],
        [
            value("score", floats, ["B"]),
            value("contributions", floats, ["B", width]),
            value("expected", floats, ["B", width]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    scores = np.linspace(0, normal, 500).tolist()
    return publish(root, model, version, window, fields, scores)


def publish(
    root: Path,
    model: onnx.ModelProto,
    version: str,
    window: int,
    fields: Sequence[str],
    scores: list[float],
) -> Artifact:
    """Any graph of the contract as an artifact named `anomaly`."""
    width = len(fields)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "assets").mkdir()
        onnx.save(model, folder / "model.onnx")
        (folder / "assets" / "fields.json").write_text(json.dumps(list(fields)))
        threshold = {"threshold": max(scores), "scores": scores}
        (folder / "assets" / "threshold.json").write_text(json.dumps(threshold))
        (folder / "metrics.json").write_text("{}")
        signature = Signature(
            "anomaly",
            version,
            "anomaly",
            (
                Tensor("values", "float32", ("B", window, width)),
                Tensor("time", "int64", ("B",)),
            ),
            (
                Tensor("score", "float32", ("B",)),
                Tensor("contributions", "float32", ("B", width)),
                Tensor("expected", "float32", ("B", width)),
            ),
            20,
            limits={"window": window},
        )
        return artifact.write(folder, root, signature)


class MovingBank:
    """A threshold that follows each source's scores: `factor` times their moving average."""

    def __init__(
        self, factor: float = 10.0, rate: float = 0.1, least: float = 5.0, **others: object
    ) -> None:
        self.factor, self.rate, self.least = factor, rate, least
        self.start = np.nan
        self.average: NDArray[np.float64] = np.empty(0)
        self.told: NDArray[np.float64] = np.empty(0)  # by verdicts

    def calibrate(self, scores: NDArray[np.floating]) -> None:
        self.start = float(np.mean(scores))

    def grow(self, sources: int) -> None:
        more = max(0, sources - len(self.average))
        self.average = np.r_[self.average, np.full(more, self.start)]
        self.told = np.r_[self.told, np.zeros(more)]

    def judge(
        self, source: NDArray[np.integer], time: NDArray[np.floating], score: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        found = np.empty(len(source))
        for n, (row, value) in enumerate(zip(source, score, strict=True)):
            found[n] = self.current()[row]
            if np.isfinite(value):
                self.average[row] += self.rate * (min(value, found[n]) - self.average[row])
        return found

    def verdict(self, source: int, score: float, confirmed: bool) -> None:
        if not confirmed:
            self.told[source] = max(self.told[source], score * 1.01)

    def current(self) -> NDArray[np.float64]:
        return np.maximum(np.maximum(self.average * self.factor, self.least), self.told)

    def state(self) -> dict[str, NDArray[np.float64]]:
        return {"average": self.average.copy(), "told": self.told.copy()}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        self.average, self.told = state["average"].copy(), state["told"].copy()


class FixedBank(MovingBank):
    """The same, without a loop over events, for long runs: it never moves but by verdicts."""

    def judge(
        self, source: NDArray[np.integer], time: NDArray[np.floating], score: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        return self.current()[source]


def telemetry(
    count: int, sources: int, seed: int = 0, start: float | None = None, spikes: float = 0.01
) -> list[dict[str, Any]]:
    """Events of both fields in time order, one a second of each source, some far too high."""
    rng = np.random.default_rng(seed)
    rows = -(-count // sources)
    first = datetime.now(UTC).timestamp() - rows if start is None else start
    values = rng.normal(50, 0.5, (count, 2)) + 1000 * (rng.random((count, 1)) < spikes)
    return [
        {
            "timestamp": datetime.fromtimestamp(first + n // sources, UTC).isoformat(),
            "source": f"s{n % sources}",
            "cpu": round(float(values[n, 0]), 3),
            "memory": round(float(values[n, 1]), 3),
        }
        for n in range(count)
    ]
