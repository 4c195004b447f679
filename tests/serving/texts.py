"""A text classifier whose answers can be computed by hand, as an artifact of the contract's shape.

"good" speaks for "positive" by 3, "bad" against it by 3, "film" says nothing. With `exact_below`
another graph comes first, in which "film" is negative by a little, as if it had been rounded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models import artifact
from models.artifact import Signature, Tensor
from models.sentiment.cleaning import Cleaner
from models.sentiment.text_reader import TextReader
from models.sentiment.tokenization import word_tokenizer


def make_classifier(root: Path, max_length: int = 8, exact_below: float = 0.0) -> Path:
    folder = root / "parts"
    (folder / "assets").mkdir(parents=True)
    tokenizer = word_tokenizer(["good bad film"], size=10, min_count=1)
    table = np.zeros((tokenizer.get_vocab_size(), 2), dtype=np.float32)
    table[tokenizer.token_to_id("good")] = [0, 3]
    table[tokenizer.token_to_id("bad")] = [3, 0]
    _write_graph(table, folder / (artifact.EXACT if exact_below else "model.onnx"))
    if exact_below:
        table[tokenizer.token_to_id("film")] = [0.25, 0]
        _write_graph(table, folder / "model.onnx")
    reader = TextReader(Cleaner(["html_tags", "lowercase", "spaces"]), tokenizer, max_length)
    reader.save(
        folder / "assets",
        classes=["negative", "positive"],
        abstain_below=0.6,
        exact_below=exact_below,
        language="en",
    )
    signature = Signature(
        name="sentiment",
        version="20260101-000000-000",
        task="sentiment",
        inputs=(Tensor("ids", "int64", ("batch", "time")),),
        outputs=(Tensor("logits", "float32", ("batch", 2)),),
        opset=18,
        limits={"tokens": max_length},
    )
    return artifact.write(folder, root / "artifacts", signature).path


def _write_graph(table: np.ndarray, path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axes"], ["logits"], keepdims=0),
        ],
        "words",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, str(path))
