"""Reading labelled texts, splitting them, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from models.pretrained import EncoderError
from models.sentiment.readers.query import TextQuery
from models.sentiment.readers.reviews import ReviewReader
from models.sentiment.readers.table import MissingTextsError, TextTable
from models.sentiment.review import read_review, reviewed, write_review
from models.sentiment.splits import GivenSplit, StratifiedSplit, duplicates_across
from models.sentiment.texts import Classes, TextError, Texts, texts_of
from models.sentiment.tokenization import SubwordTokenizer
from scripts.entrypoint import CONFIGS

STARS = Classes(
    ["bad", "so-so", "good"],
    {"1": "bad", "2": "bad", "3": "so-so", "4": None, "5": "good"},
)
ROWS = [("awful", 1), ("fine", 3), ("lovely", 5)]


def texts(labels: list[int], classes: int = 2, split: list[str] | None = None) -> Texts:
    n = len(labels)
    names = tuple(f"c{i}" for i in range(classes))
    parts = np.array(split or [""] * n, dtype=np.str_)
    keys = [f"k{i}" for i in range(n)]
    return Texts([f"text {i}" for i in range(n)], np.array(labels), parts, keys, names)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_the_same_rows_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, schema=["body", "stars"], orient="row")
    file = tmp_path / f"reviews.{kind}"
    {
        "csv": frame.write_csv,
        "tsv": lambda f: frame.write_csv(f, separator="\t"),
        "jsonl": frame.write_ndjson,
        "parquet": frame.write_parquet,
    }[kind](file)
    read = TextTable(str(file), text="body", label="stars").read()
    found, refused = texts_of(read, STARS)
    assert found.text == ["awful", "fine", "lovely"]
    assert [found.classes[c] for c in found.label] == ["bad", "so-so", "good"]
    assert refused.is_empty()


def test_files_without_a_header_give_each_split(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(f'a "quoted {name}\t1\nanother {name}\t5\nfine\t3\n')
    splits = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    table = TextTable(str(tmp_path), text=0, label=1, splits=splits, header=False, quoted=False)
    found, _ = texts_of(table.read(), STARS)
    parts = GivenSplit().split(found)
    assert [found.text[i] for i in parts.validation] == ['a "quoted dev', "another dev", "fine"]
    assert found.key[0] == "train.tsv:1"


def test_a_query_of_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE said (body TEXT, stars INT)"))
        connection.execute(sa.text("INSERT INTO said VALUES ('awful', 1), ('lovely', 5)"))
    read = TextQuery(url, "SELECT body AS text, stars AS label FROM said").read()
    assert texts_of(read, STARS)[0].label.tolist() == [0, 2]
    with pytest.raises(TextError, match="no such table: nowhere"):
        TextQuery(url, "SELECT * FROM nowhere").read()
    with pytest.raises(TextError, match="a column 'label' is needed"):
        TextQuery(url, "SELECT body AS text FROM said").read()


def test_reviews_of_the_warehouse(tmp_path: Path) -> None:
    folder = tmp_path / "reviews" / "date=2026-01-01"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {"review_id": ["b", "a"], "title": ["T", "U"], "text": ["later", "first"],
         "stars": [5, 1], "timestamp": [2, 1]}
    ).write_parquet(folder / "part-0.parquet")  # fmt: skip
    read = ReviewReader(str(tmp_path)).read()
    assert read.rows() == [("first", "1", "", "a"), ("later", "5", "", "b")]
    assert ReviewReader(str(tmp_path), with_title=True).read()["text"][0] == "U. first"
    with pytest.raises(MissingTextsError, match="no reviews"):
        ReviewReader(str(tmp_path / "empty")).read()


def test_bad_rows_are_refused_with_their_reason() -> None:
    frame = pl.DataFrame(
        {
            "text": ["good", None, "", "  ", "fine"],
            "label": ["5", "1", "1", "1", "6"],
            "split": [""] * 5,
            "key": ["a", "b", "c", "d", "e"],
        }
    )
    found, refused = texts_of(frame, STARS)
    assert found.text == ["good"]
    reasons = dict(refused.select("line", "reason").rows())
    assert reasons["b"] == "text is None, not a text"
    assert reasons["c"] == reasons["d"] == "text is empty"
    assert reasons["e"] == "label '6' is not in the mapping (1, 2, 3, 4, 5)"


def test_a_label_mapped_to_null_is_left_out_without_complaint() -> None:
    frame = pl.DataFrame(
        {"text": ["x", "y"], "label": ["4", "5"], "split": ["", ""], "key": ["a", "b"]}
    )
    found, refused = texts_of(frame, STARS)
    assert found.text == ["y"]
    assert refused.is_empty()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_whole_numbers_in_a_column_with_gaps_are_labels(kind: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["x", "y", "z"], "label": [1.0, None, 5.0]})
    file = tmp_path / f"x.{kind}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[kind](
        file
    )
    found, refused = texts_of(TextTable(str(file)).read(), STARS)
    assert found.label.tolist() == [0, 2]
    assert len(refused) == 1


def test_a_mapping_from_the_command_line_has_numbers_for_keys() -> None:
    settings = ["data=texts", "data.path=x", "data.classes.mapping={0:negative,1:positive,2:null}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        classes = instantiate(compose("find_label_errors", settings).data.classes)
    assert [classes.of(raw)[0] for raw in ("0", "1", "2")] == [0, 1, None]
    assert classes.of("3")[1] == "label '3' is not in the mapping (0, 1, 2)"


def test_a_database_and_its_split_by_config(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    pl.DataFrame(
        {"text": ["a", "b", "c"], "label": ["positive"] * 3, "split": ["train", "test", "train"]}
    ).write_database("said", url)
    settings = [
        "data=query",
        f"data.url={url}",
        "data.sql='SELECT * FROM said'",
        "data/split=given",
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        data = compose("find_label_errors", settings).data
        split = instantiate(data.split)
    assert instantiate(data.reader).read()["split"].to_list() == ["train", "test", "train"]
    assert isinstance(split, GivenSplit)


def test_classes_that_make_no_sense() -> None:
    with pytest.raises(TextError, match="at least two different"):
        Classes(["a", "a"])
    with pytest.raises(TextError, match=r"mapped to \['c'\]"):
        Classes(["a", "b"], {"1": "c"})


def test_each_class_keeps_its_share_in_each_part() -> None:
    found = texts([0] * 80 + [1] * 20)
    split = StratifiedSplit(0.1, 0.2, seed=1).split(found)
    assert [int(np.sum(found.label[p] == 1)) for p in split] == [14, 2, 4]
    assert sorted(np.concatenate(split).tolist()) == list(range(100))


@pytest.mark.parametrize(("few", "told"), [(0, "0 examples"), (1, "1 example"), (2, "2 examples")])
def test_a_class_with_too_few_examples_is_named(few: int, told: str) -> None:
    with pytest.raises(TextError, match=f"class 'c1' has {told} to split; at least 3"):
        StratifiedSplit().split(texts([0] * 20 + [1] * few))
    parts = ["train"] * 21 + ["test"]
    with pytest.raises(TextError, match="class 'c1' has 1 example in training; at least 2"):
        GivenSplit().split(texts([0] * 20 + [1, 1], split=parts))


def test_a_split_of_another_name_is_named() -> None:
    with pytest.raises(TextError, match="split 'dev' is none of train, validation, test"):
        GivenSplit().split(texts([0, 1], split=["train", "dev"]))


def test_a_split_that_is_missing_or_not_used_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TextError, match="the data brings no split"):
        GivenSplit().split(texts([0, 1]))
    StratifiedSplit().split(texts([0] * 9 + [1] * 9, split=["train"] * 18))
    assert "a split, which is not used; data/split=given" in caplog.text


def test_duplicates_across_splits_are_found() -> None:
    found = texts(
        [0, 0, 1, 1, 0, 1], split=["train", "train", "train", "validation", "test", "test"]
    )
    found.text[4] = "TEXT  0"
    split = GivenSplit().split(found)
    (duplicate,) = duplicates_across(found, split)
    assert duplicate.places == ["train k0 c0", "test k4 c0"]


def test_dropping_duplicates_must_leave_texts(tmp_path: Path) -> None:
    parts = [("fun", "train"), ("Fun", "test"), ("long", "train"), ("long", "validation")]
    rows = [(f"{word} {text}", word, part) for word in ("good", "bad") for text, part in parts]
    schema = ["text", "label", "split"]
    pl.DataFrame(rows, schema=schema, orient="row").write_csv(tmp_path / "x.csv")
    settings = [
        "experiment=sentiment/lstm", "data=texts", f"data.path={tmp_path}/x.csv", "vectors=random",
        "data.classes.names=[bad,good]", "data.reader.split=split", "data/split=given",
        "datamodule.duplicates=drop", f"output_dir={tmp_path}", f"paths.root={tmp_path}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        module = instantiate(compose("train", settings).datamodule)
    with pytest.raises(TextError, match="the train split is empty"):
        module.prepare()


def test_verdicts_correct_labels_and_drop_rows(tmp_path: Path) -> None:
    found = texts([0, 1, 0, 1])
    file = tmp_path / "review.csv"
    rows = [{"key": f"k{i}", "verdict": v} for i, v in enumerate(["c1", "drop", "keep", ""])]
    write_review(file, rows)
    corrected = reviewed(found, read_review(file, found.classes))
    assert corrected.key == ["k0", "k2", "k3"]
    assert corrected.label.tolist() == [1, 0, 1]
    write_review(file, [{"key": "k0", "verdict": "good"}])
    with pytest.raises(TextError, match=r"line 2: verdict 'good' is none of keep, drop, c0, c1"):
        read_review(file, found.classes)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.csv", b"text,label\na,0\nb,1,2\n", "line 3: 3 fields, the first line has 2"),
        ("x.tsv", b'text\tlabel\n"a\nb"\t0\nb\t1\t2\n', "line 4: 3 fields"),
        ("x.jsonl", b'{"text": "a", "label": 0}\n{"text": b}\n', "line 2: not JSON"),
        ("x.jsonl", b'{"text": "a\xff", "label": 0}\n', "line 1: not UTF-8"),
        ("x.parquet", b"PAR1", "cannot be read as .parquet"),
        ("x.csv", b"", "empty CSV"),
    ],
)
def test_a_damaged_file_names_the_line(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=told):
        TextTable(str(tmp_path / name)).read()


def test_a_file_without_rows_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n")
    with pytest.raises(TextError, match="no text is left of 0 rows"):
        texts_of(TextTable(str(tmp_path / "x.csv")).read(), STARS)


def test_broken_utf8_in_a_table_is_read_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.csv").write_bytes(b"text,label\nfine \xff film,5\ngood,5\n")
    assert TextTable(str(tmp_path / "x.csv")).read()["text"].to_list() == ["fine � film", "good"]
    assert "bytes of 1 rows are no UTF-8" in caplog.text


def test_rows_are_known_by_the_line_on_which_they_begin(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text,label,line\n"two\nlines",5,a\nnext,5,b\n')
    assert TextTable(str(tmp_path / "x.csv")).read()["key"].to_list() == ["x.csv:2", "x.csv:4"]
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": "5"}\n')
    assert TextTable(str(tmp_path / "x.jsonl")).read()["key"].to_list() == ["x.jsonl:1"]


@pytest.mark.parametrize(
    ("encoder", "told"),
    [("package:absent/model", "no package 'absent'"), ("no folder", "is no folder, and cannot")],
)
def test_an_encoder_that_is_not_there_is_named(encoder: str, told: str) -> None:
    with pytest.raises((TextError, EncoderError), match=told):
        SubwordTokenizer(encoder)([])


def test_a_text_of_any_length_can_be_reviewed(tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    write_review(file, [{"key": "k0", "verdict": "drop", "text": "word " * 100_000}])
    assert read_review(file, ("a", "b")) == {"k0": "drop"}


def test_a_missing_column_names_those_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"body": "x", "label": "a"}) + "\n")
    with pytest.raises(TextError, match=r"no column 'text'; it has \['body', 'label'\]"):
        TextTable(str(file)).read()
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(TextError, match=r"\.xlsx is not read"):
        TextTable(str(tmp_path / "x.xlsx")).read()
