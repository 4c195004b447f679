"""Scoring a table in parts: whole, interrupted, with odd rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from models.sentiment.predictor import Predictor
from models.sentiment.scoring import TextScorer
from models.sentiment.texts import TextError
from tests.serving.texts import make_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"))


def scorer(model: Path, rows: int = 2) -> TextScorer:
    return TextScorer(str(model), "text", rows, 1, 64, False, "sentiment")


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_every_row_gets_its_answer(kind: str, model: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": range(5), "text": ["good film", "Bad", None, "film", "good bad"]})
    source, goal = tmp_path / f"in.{kind}", tmp_path / "deep" / "out.parquet"
    {
        "parquet": frame.write_parquet,
        "csv": frame.write_csv,
        "tsv": lambda f: frame.write_csv(f, separator="\t"),
        "jsonl": frame.write_ndjson,
    }[kind](source)
    done = scorer(model).score(source, goal)
    assert done["rows"] == done["scored"] == 5
    answered = pl.read_parquet(goal)
    assert answered["predicted"].to_list() == ["positive", "negative", None, "unsure", "unsure"]
    assert answered["reason"][2] == "None is no text"
    assert answered["sentiment"][0] == pytest.approx(-answered["sentiment"][1])
    assert answered["model_version"].unique().to_list() == ["20260101-000000-000"]
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
    with pytest.raises(TextError, match="input and output are one file"):
        scorer(model).score(source, source)
    assert pl.read_csv(source).columns == ["text"]
    pl.DataFrame({"text": ["x"], "reason": ["y"]}).write_csv(source)
    with pytest.raises(TextError, match="has a column 'reason' already"):
        scorer(model).score(source, tmp_path / "out.csv")
    source.write_text("text\nx\ny,z\n")
    with pytest.raises(TextError, match="line 3: 2 fields, the first line has 1"):
        scorer(model).score(source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_table_without_rows_keeps_its_columns(model: Path, tmp_path: Path) -> None:
    source, goal = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("id\ttext\n")
    assert scorer(model).score(source, goal)["rows"] == 0
    columns = pl.read_csv(goal, separator="\t").columns
    assert columns[:3] == ["id", "text", "predicted"]
    assert columns[-2:] == ["outside_language", "model_version"]
