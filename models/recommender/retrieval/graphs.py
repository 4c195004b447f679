"""Both towers as ONNX graphs; the catalog's vectors are put into the user's graph afterwards.

The user's graph is exported with the item table as an input of any length, which then becomes a
constant: another catalog, with items that training never saw, is another constant in the same
graph. Limits: 2 GB a file, which is 4 million items at 128 numbers each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.export import describe, export_onnx
from models.recommender.export import MASKED, Specs
from models.recommender.interactions import DataError
from models.recommender.retrieval.two_tower import TwoTowerRecommender
from models.recommender.retrieval.user_inputs import USER

TABLE = "table"


class UserGraph(nn.Module):
    """history [B, T], seen [B, S], table [V + 1, D] → items [B, k], scores [B, k].

    What is known of the users follows, a tensor for each of the model's fields in their order.
    """

    def __init__(self, model: TwoTowerRecommender, k: int) -> None:
        super().__init__()
        self.model = model
        self.k = k

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        history, seen, table, *known = inputs
        scores = self.model.user_vectors(history, table, _named(self.model, known)) @ table.T
        # Padding entries of `seen` are 0 and so mask the padding column as well.
        hidden = torch.cat([seen, torch.zeros_like(seen[:, :1])], dim=1)
        scores = scores.scatter(1, hidden, torch.full_like(hidden, MASKED, dtype=scores.dtype))
        best = scores.topk(self.k, dim=1)
        return best.indices, best.values


class UserVectorGraph(nn.Module):
    """history [B, T], table [V + 1, D] → vectors [B, D], for an index outside the graph.

    What is known of the users follows, as in `UserGraph`.
    """

    def __init__(self, model: TwoTowerRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        history, table, *known = inputs
        return self.model.user_vectors(history, table, _named(self.model, known))


class ItemGraph(nn.Module):
    """ids [M] (0: none), attributes [M, A], numbers [M, N], text [M, E] → vectors [M, D]."""

    def __init__(self, model: TwoTowerRecommender) -> None:
        super().__init__()
        self.tower = model.item_tower

    def forward(self, ids: Tensor, attributes: Tensor, numbers: Tensor, text: Tensor) -> Tensor:
        parts = {"attributes": attributes, "numbers": numbers, "text": text}
        return cast(Tensor, self.tower(ids, parts))


def export_user_graph(model: TwoTowerRecommender, k: int, path: Path) -> Specs:
    """Write the graph that answers items, its table bound to the model's own catalog."""
    table = _own_table(model)
    history = torch.tensor([[0, 1, 1], [1, 1, 1]])
    known = user_inputs(model, torch.zeros(2, dtype=torch.int64))
    export_onnx(
        UserGraph(model, k),
        # Not one tensor twice: the exporter would make one input of both.
        {"history": history, "seen": history.clone(), TABLE: table, **_wide(known)},
        {
            "history": {0: "batch", 1: "time"},
            "seen": {0: "batch", 1: "seen"},
            TABLE: {0: "catalog"},
            **_dynamic(known),
        },
        ["items", "scores"],
        path,
        variadic=True,
    )
    return bind_table(path, table.numpy(), k)


def export_user_vector_graph(model: TwoTowerRecommender, path: Path) -> Specs:
    """Write the graph that answers a vector, its table bound to the model's own catalog."""
    table = _own_table(model)
    known = user_inputs(model, torch.zeros(2, dtype=torch.int64))
    export_onnx(
        UserVectorGraph(model),
        {"history": torch.tensor([[0, 1, 1], [1, 1, 1]]), TABLE: table, **_wide(known)},
        {"history": {0: "batch", 1: "time"}, TABLE: {0: "catalog"}, **_dynamic(known)},
        ["vectors"],
        path,
        variadic=True,
    )
    return bind_table(path, table.numpy())


def user_inputs(model: TwoTowerRecommender, users: Tensor) -> dict[str, Tensor]:
    """What the graph is told of users, by the names of its inputs; code 0: nothing is known.

    Args:
        users: codes [B] of the model's vocabulary.
    """
    return {f"{USER}{name}": part for name, part in model.profile(users).items()}


def _named(model: TwoTowerRecommender, known: Sequence[Tensor]) -> dict[str, Tensor]:
    fields = model.profiles.columns if model.profiles is not None else ()
    return dict(zip(fields, known, strict=True))


def _wide(known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bags of two places and more: an axis of length 1 would be taken as fixed."""
    return {
        name: nn.functional.pad(part, (0, 1)) if part.ndim == 2 else part.clone()
        for name, part in known.items()
    }


def _dynamic(known: Mapping[str, Tensor]) -> dict[str, dict[int, str]]:
    return {
        name: {0: "batch"} | ({1: f"{name}_values"} if part.ndim == 2 else {})
        for name, part in known.items()
    }


def export_item_graph(model: TwoTowerRecommender, path: Path) -> None:
    """Write the graph that makes an item's vector of its content and, if it has one, its id."""
    two = torch.tensor([0, 1])

    def rows(name: str, dtype: torch.dtype) -> Tensor:
        part = getattr(model, f"item_{name}", None)
        if part is None:
            return torch.zeros(2, 0, dtype=dtype)
        taken = part[two]
        # An axis of length 1 would be taken as fixed.
        return torch.nn.functional.pad(taken, (0, 1)) if taken.shape[1] == 1 else taken

    attributes = rows("attributes", torch.int64)
    dynamic = {
        "ids": {0: "rows"},
        "attributes": {0: "rows"} | ({1: "values"} if attributes.shape[1] else {}),
        "numbers": {0: "rows"},
        "text": {0: "rows"},
    }
    example = {
        "ids": two,
        "attributes": attributes,
        "numbers": _exact(model, "numbers"),
        "text": _exact(model, "text"),
    }
    export_onnx(ItemGraph(model), example, dynamic, ["vectors"], path)


def _exact(model: TwoTowerRecommender, name: str) -> Tensor:
    part = getattr(model, f"item_{name}", None)
    return torch.zeros(2, 0) if part is None else part[:2]


def _own_table(model: TwoTowerRecommender) -> Tensor:
    with torch.inference_mode():
        return model.item_table().clone()


def bind_table(path: Path, table: np.ndarray, k: int | None = None) -> Specs:
    """Make `table` [V + 1, D] the graph's constant, whatever it was before; returns its ports.

    Args:
        k: length of the list, where the graph makes one; a smaller catalog has a shorter list.

    Raises:
        DataError: the vectors have another width than the graph's.
    """
    model = onnx.load(str(path))
    graph = model.graph
    width = table_of(model).shape[1] if _is_bound(model) else _width(model)
    if table.ndim != 2 or table.shape[1] != width:
        raise DataError(f"{path}: a table of shape {table.shape}; the graph's vectors have {width}")
    for values in (graph.input, graph.initializer):
        for value in [v for v in values if v.name == TABLE]:
            values.remove(value)
    constant = numpy_helper.from_array(np.ascontiguousarray(table, dtype=np.float32), TABLE)
    graph.initializer.append(constant)
    del graph.value_info[:]  # shapes that were inferred for another catalog
    if k is not None:
        _set_k(model, k)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    return describe(graph.input), describe(graph.output)


def table_of(model: onnx.ModelProto) -> np.ndarray:
    """The vectors [V + 1, D] that a graph's catalog has."""
    found = next(t for t in model.graph.initializer if t.name == TABLE)
    return numpy_helper.to_array(found)


def _is_bound(model: onnx.ModelProto) -> bool:
    return any(t.name == TABLE for t in model.graph.initializer)


def _width(model: onnx.ModelProto) -> int:
    table = next(v for v in model.graph.input if v.name == TABLE)
    return int(table.type.tensor_type.shape.dim[1].dim_value)


def _set_k(model: onnx.ModelProto, k: int) -> None:
    """The number of places is a constant of the graph's only TopK."""
    node = next(n for n in model.graph.node if n.op_type == "TopK")
    before = node.input[1]
    if sum(list(n.input).count(before) for n in model.graph.node) == 1:
        for old in [t for t in model.graph.initializer if t.name == before]:
            model.graph.initializer.remove(old)
    node.input[1] = "list_length"
    value = numpy_helper.from_array(np.array([k], dtype=np.int64), "list_length")
    model.graph.initializer.append(value)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = k
