"""Items as they come: rows that lack, ids of every kind, columns that say nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.recommender.attributes import AttributeTable
from models.recommender.interactions import DataError
from models.recommender.readers.attributes import AttributeReader
from models.recommender.readers.files import MissingInputError
from models.recommender.readers.sequences import SequenceReader
from models.recommender.retrieval.content_encoder import Columns, ContentEncoder


def table(tmp_path: Path, text: str, **more: Any) -> AttributeReader:
    (tmp_path / "items.csv").write_text(text)
    return AttributeReader(tmp_path / "items.csv", tmp_path / "rejects.csv", **more)


def items_of(path: Path, **columns: Any) -> AttributeTable:
    beside = path if path.is_dir() else path.parent
    settings = {"min_count": 1, **columns}
    return AttributeTable(path, beside / "rejects.csv", beside / "missing.csv", **settings)


def json_reader(folder: Path) -> AttributeReader:
    return AttributeReader(folder, folder / "rejects.csv", names=["*attributes*.json"])


def source(tmp_path: Path, text: str, **columns: Any) -> AttributeTable:
    (tmp_path / "items.csv").write_text(text)
    return items_of(tmp_path / "items.csv", **columns)


def test_items_without_a_row_are_reported_and_count_as_without_attributes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = source(tmp_path, "item_id,kind,price\na,x,1\nb,y,3\nnever,x,5\n",
                   categories=["kind"], numbers=["price"])  # fmt: skip
    with caplog.at_level(logging.WARNING):
        _, content = items.load(pl.Series(["b", "gone", "a"]), np.ones(3, dtype=bool))
    assert "lacks 1 of 3 ids (such as gone)" in caplog.text
    assert (tmp_path / "missing.csv").read_text() == "id\ngone\n"
    assert content.attributes.tolist() == [[0], [2], [0], [1]]  # padding, b, gone, a
    assert content.empty().tolist() == [True, False, True, False]
    np.testing.assert_array_equal(content.numbers[:, 0], [np.nan, 3, np.nan, 1])


def test_only_items_of_the_training_teach_the_encoder(tmp_path: Path) -> None:
    items = source(tmp_path, "item_id,kind\na,x\nb,y\n", categories=["kind"])
    encoder, content = items.load(pl.Series(["a", "b"]), np.array([True, False]))
    assert dict(encoder.codes) == {"kind=x": 1}
    assert content.attributes.tolist() == [[0], [1], [0]]  # y is not known: as if it said nothing


@pytest.mark.parametrize("ids", [["-5", "9223372036854775807"], ["007", "a b"]])
def test_ids_are_read_as_they_are_written(tmp_path: Path, ids: list[str]) -> None:
    items = source(tmp_path, f"item_id,kind\n{ids[0]},x\n{ids[1]},y\n", categories=["kind"])
    _, content = items.load(pl.Series(ids), np.ones(2, dtype=bool))
    assert content.attributes.tolist() == [[0], [1], [2]]


def test_whole_numbers_in_parquet_are_ids(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sku": [-5, 2**63 - 1], "kind": [["x", "y", "x"], []]})
    frame.write_parquet(tmp_path / "items.parquet")
    items = items_of(tmp_path / "items.parquet", id="sku", categories=["kind"])
    _, content = items.load(pl.Series(["9223372036854775807", "-5"]), np.ones(2, dtype=bool))
    assert content.attributes.tolist() == [[0, 0], [0, 0], [1, 2]]


def test_rows_without_an_id_and_repeated_ones_are_set_aside(tmp_path: Path) -> None:
    reader = table(tmp_path, "item_id,kind\na,x\n ,y\na,z\nb,x\n", max_reject_share=0.5)
    frame = reader.read()
    assert frame["id"].to_list() == ["a", "b"]
    assert frame["kind"].to_list() == ["x", "x"]
    rejects = pl.read_csv(tmp_path / "rejects.csv")
    assert rejects["line"].to_list() == [3, 4]
    assert rejects["reason"].to_list() == ["empty id", "id occurs before"]
    with pytest.raises(DataError, match="2 of 4 rows rejected"):
        table(tmp_path, "item_id,kind\na,x\n ,y\na,z\nb,x\n").read()


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """Also those of the list of rejects, and that of the ids itself."""
    rows = "sku,text,line,reason,source,id\na,warm wool,x,y,z,0\nb,cold steel,x,y,z,0\n"
    frame = table(tmp_path, rows, id="sku").read()
    assert frame["id"].to_list() == ["a", "b"]
    assert frame["text"].to_list() == ["warm wool", "cold steel"]
    assert set(frame.columns) == {"id", "text", "line", "reason", "source"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"categories": ["colour"]}, r"no column 'colour'; it has \['kind', 'title'\]"),
        ({"texts": ["title"]}, "no encoder is given to read them"),
    ],
)
def test_columns_that_are_not_there_are_named(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    items = source(tmp_path, "item_id,kind,title\na,x,t\n", **columns)
    with pytest.raises(DataError, match=words):
        items.load(pl.Series(["a"]), np.ones(1, dtype=bool))


def test_a_table_of_other_items_is_an_error(tmp_path: Path) -> None:
    items = source(tmp_path, "item_id,kind\n1.0,x\n", categories=["kind"])
    with pytest.raises(DataError, match=r"none of 1 ids .* begin \['1'\] there and \['1.0'\]"):
        items.load(pl.Series(["1"]), np.ones(1, dtype=bool))


def test_words_among_numbers_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = source(tmp_path, "item_id,price\na,1\nb,cheap\nc, 2 \nd,\n", numbers=["price"])
    _, content = items.load(pl.Series(["a", "b", "c", "d"]), np.ones(4, dtype=bool))
    assert "1 of 4 values of column 'price' are no numbers, such as 'cheap' of b" in caplog.text
    np.testing.assert_array_equal(content.numbers[1:, 0], [1, np.nan, 2, np.nan])


def test_a_column_of_numbers_that_holds_none_is_an_error(tmp_path: Path) -> None:
    items = source(tmp_path, "item_id,price\na,dear\nb,cheap\n", numbers=["price"])
    with pytest.raises(DataError, match=r"'dear' of a, and none is; .* among the categories"):
        items.load(pl.Series(["a", "b"]), np.ones(2, dtype=bool))


def test_numbers_that_are_none_are_missing() -> None:
    frame = pl.DataFrame({"item_id": list("abcd"), "price": ["3.5", "x", None, "inf"]})
    encoder = ContentEncoder.fit(frame, Columns(numbers=("price",)), 1, None)
    numbers = encoder.encode(frame, None).numbers[:, 0]
    np.testing.assert_array_equal(numbers, [3.5, np.nan, np.nan, np.nan])


def test_separated_values_and_rare_ones() -> None:
    frame = pl.DataFrame({"item_id": list("abc"), "tags": ["p|q", "q | p", "rare|q"]})
    encoder = ContentEncoder.fit(frame, Columns(categories=("tags",), separator="|"), 2, None)
    assert dict(encoder.codes) == {"tags=p": 1, "tags=q": 2}
    assert encoder.encode(frame, None).attributes.tolist() == [[1, 2], [2, 1], [2, 0]]


def test_what_was_learnt_survives_its_json() -> None:
    frame = pl.DataFrame({"item_id": ["a"], "kind": ["x"]})
    encoder = ContentEncoder.fit(frame, Columns(categories=("kind",)), 1, None)
    assert ContentEncoder.from_json(json.loads(encoder.to_json())) == encoder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON list; an object"),
        ('{"a": 3}', "'a' has 3; a list of attributes is expected"),
    ],
)
def test_an_attribute_file_that_is_none(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "item_attributes.json").write_text(content)
    with pytest.raises(DataError, match=words):
        json_reader(tmp_path).read()


def test_attribute_lists_by_item(tmp_path: Path) -> None:
    (tmp_path / "x2attributes.json").write_text('{"4": [1, "b"], "-1": []}')
    frame = json_reader(tmp_path).read()
    assert frame.to_dict(as_series=False) == {
        "id": ["4", "-1"],
        "attributes": [["1", "b"], []],
    }
    with pytest.raises(MissingInputError, match="no such file or folder"):
        json_reader(tmp_path / "absent").read()


@pytest.mark.realdata
def test_every_item_of_beauty_has_attributes(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "amazon-beauty"
    ids = SequenceReader(folder, tmp_path / "rejects.csv").read()["item_id"].unique()
    items = AttributeTable(
        folder, tmp_path / "rejects.csv", tmp_path / "missing.csv",
        names=["*attributes*.json"], categories=["attributes"],
    )  # fmt: skip
    encoder, content = items.load(ids, np.ones(len(ids), dtype=bool))
    assert len(content) == 12_101 + 1
    assert int(content.empty().sum()) == 1  # the padding
    assert len(encoder.codes) == 637
    assert not (tmp_path / "missing.csv").exists()
