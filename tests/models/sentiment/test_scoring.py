"""Scoring a table in parts: whole, interrupted, with odd rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from models import artifact
from models.sentiment.cleaning import Cleaner
from models.sentiment.predictor import Predictor
from models.sentiment.scoring import TextScorer
from models.sentiment.text_reader import TextReader
from models.sentiment.texts import TextError
from models.sentiment.tokenization import word_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that sums a weight of each word: "good" is 3 for, "bad" 3 against."""
    folder = tmp_path_factory.mktemp("draft")
    (folder / "assets").mkdir()
    tokenizer = word_tokenizer(["good bad film"], size=10, min_count=1)
    table = np.zeros((tokenizer.get_vocab_size(), 2), dtype=np.float32)
    table[tokenizer.token_to_id("good")] = [0, 3]
    table[tokenizer.token_to_id("bad")] = [3, 0]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [onnx.numpy_helper.from_array(table, "table"),
         onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, folder / "model.onnx")
    reader = TextReader(Cleaner(["html_tags", "lowercase", "spaces"]), tokenizer, 8)
    reader.save(
        folder / "assets", classes=["negative", "positive"], abstain_below=0.6, language=None
    )
    signature = artifact.Signature("sentiment", "1", "sentiment", (), (), 18)
    return artifact.write(folder, tmp_path_factory.mktemp("artifacts"), signature).path


def scorer(model: Path, rows: int = 2) -> TextScorer:
    return TextScorer(str(model), "text", rows, 1, 64, False, "sentiment")


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_every_row_gets_its_answer(kind: str, model: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": range(5), "text": ["good film", "Bad", None, "film", "good bad"]})
    source, goal = tmp_path / f"in.{kind}", tmp_path / "deep" / "out.parquet"
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[kind](
        source
    )
    done = scorer(model).score(source, goal)
    assert done["rows"] == done["scored"] == 5
    answered = pl.read_parquet(goal)
    assert answered["predicted"].to_list() == ["positive", "negative", None, "unsure", "unsure"]
    assert answered["reason"][2] == "None is no text"
    assert answered["sentiment"][0] == pytest.approx(-answered["sentiment"][1])
    assert answered["model_version"].unique().to_list() == ["1"]
    assert not goal.with_name("out.parquet.parts").exists()


def test_a_stopped_run_goes_on_after_its_last_part(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, goal = tmp_path / "in.parquet", tmp_path / "out.csv"
    pl.DataFrame({"text": ["good", "bad", "good", "bad", "good"]}).write_parquet(source)
    calls = 0
    real = Predictor.answers

    def failing(self: Predictor, texts: list[str], **more: bool) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(self, texts, **more)

    monkeypatch.setattr(Predictor, "answers", failing)
    with pytest.raises(KeyboardInterrupt):
        scorer(model).score(source, goal)
    assert not goal.exists()
    done = scorer(model).score(source, goal)
    assert done["scored"] == 1  # four rows of the first run were kept
    assert pl.read_csv(goal)["predicted"].to_list() == ["positive", "negative"] * 2 + ["positive"]


def test_parts_of_another_input_are_not_taken(model: Path, tmp_path: Path) -> None:
    source, goal = tmp_path / "in.parquet", tmp_path / "out.jsonl"
    parts = goal.with_name("out.jsonl.parts")
    parts.mkdir()
    (parts / "of.json").write_text("{}")
    pl.DataFrame({"x": [1]}).write_parquet(parts / "part-000000.parquet")
    pl.DataFrame({"text": ["good"]}).write_parquet(source)
    assert scorer(model).score(source, goal)["scored"] == 1
    assert pl.read_ndjson(goal)["predicted"].to_list() == ["positive"]


def test_what_cannot_be_scored_is_named(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    pl.DataFrame({"body": ["x"]}).write_csv(source)
    with pytest.raises(TextError, match=r"no column 'text'; it has \['body'\]"):
        scorer(model).score(source, tmp_path / "out.csv")
    pl.DataFrame({"text": ["x"]}).write_csv(source)
    with pytest.raises(TextError, match="results are written as"):
        scorer(model).score(source, tmp_path / "out.xlsx")
