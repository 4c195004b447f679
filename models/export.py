"""Module → ONNX, and the gate that both must answer alike.

Limits: float32 graphs; the file holds the weights inside (below 2 GB).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.artifact import Tensor as TensorSpec
from models.session import session

log = logging.getLogger(__name__)
for noisy in ("onnxscript", "onnx_ir"):  # they report every rewritten node
    logging.getLogger(noisy).setLevel(logging.WARNING)
# It warns that torchvision, of which nothing is used here, is not installed.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)

OPSET = 20


class ParityError(ValueError):
    """The exported graph does not compute what the module does."""

    exit_code = 70  # EX_SOFTWARE


def export_onnx(
    module: nn.Module,
    example: Mapping[str, Tensor],
    dynamic: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    path: Path,
    variadic: bool = False,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write `module` as one ONNX file and describe its inputs and outputs.

    Args:
        example: inputs by name; every dynamic axis at least 2 long, or it is taken as fixed.
        dynamic: for each input, axis → name; axes of one name have one size.
        variadic: `forward` takes its inputs as `*inputs`.
    """
    axes = {name: torch.export.Dim(name) for d in dynamic.values() for name in d.values()}
    shapes = tuple({i: axes[n] for i, n in dynamic[name].items()} for name in example)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        # The exporter warns of its own internals and prints its progress; errors still raise.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes=(shapes,) if variadic else shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))
    graph = onnx.load(str(path), load_external_data=False).graph
    return describe(graph.input), describe(graph.output)


def ranking_parity(
    path: Path,
    module: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    tolerance: float,
) -> float:
    """Check top-k ids and scores of the graph against the module; returns the largest difference.

    Scores must agree within `tolerance` at every place. Ids must be the same, except where two
    neighbours' scores are closer than the scores' own difference between the runtimes, so that
    either order is right.

    Raises:
        ParityError: naming the batch, the row and both answers.
    """
    run = session(path)
    worst = 0.0
    for number, batch in enumerate(batches):
        with torch.inference_mode():
            ids, scores = (t.numpy() for t in module(*batch.values()))
        feed = {name: value.numpy() for name, value in batch.items()}
        graph_ids, graph_scores = run.run(None, feed)
        difference = np.abs(scores - graph_scores)
        worst = max(worst, float(difference.max(initial=0.0)))
        if worst > tolerance:
            row = int(difference.max(axis=1).argmax())
            raise ParityError(
                f"{path}: scores differ by {worst:.2e} (batch {number}, row {row}), more than the "
                f"tolerance {tolerance:.0e}; the artifact is not written"
            )
        _same_order(path, number, ids, graph_ids, scores, worst)
    return worst


def _same_order(
    path: Path,
    number: int,
    ids: np.ndarray,
    graph_ids: np.ndarray,
    scores: np.ndarray,
    noise: float,
) -> None:
    for row, place in np.argwhere(ids != graph_ids):
        if place == ids.shape[1] - 1:
            # The next in rank is out of sight here; that the scores agree says enough: it is a tie
            # with the first item beyond the list.
            continue
        neighbours = scores[row, max(place - 1, 0) : place + 2]
        if np.abs(neighbours - scores[row, place]).tolist().count(0.0) > 1:
            continue  # an exact tie: any order is right
        gaps = np.abs(np.diff(neighbours))
        if gaps.size and gaps.min() <= 2 * noise:
            continue
        raise ParityError(
            f"{path}: place {place} of row {row} in batch {number} is item {graph_ids[row, place]}"
            f" in the graph and {ids[row, place]} in the module; the artifact is not written"
        )


def describe(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of a graph as a signature names them."""
    described = []
    for value in values:
        kind = value.type.tensor_type
        shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
        dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))
        described.append(TensorSpec(value.name, dtype, shape))
    return tuple(described)
