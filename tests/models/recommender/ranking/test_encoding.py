"""Fields, hashes and ids: what training and serving must have in common."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.recommender.ranking.encoding import FIRST, MISSING, Encoding, padded
from models.recommender.ranking.examples import Examples
from models.recommender.ranking.fields import FieldError, Fields
from models.recommender.ranking.hashing import hashes
from models.recommender.ranking.vocabularies import encoding_of
from tests.models.recommender.ranking.snapshots import FIELDS, rows


def reference(text: str) -> int:
    """FNV-1a and the mixing of MurmurHash3, in plain integers."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        state = (state ^ state >> 33) * factor % 2**64
    return state ^ state >> 33


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_hashes_are_those_of_the_definition(texts: list[str]) -> None:
    assert hashes(texts).tolist() == [reference(t) for t in texts]


def test_hashes_spread_evenly() -> None:
    counts = np.bincount((hashes([f"{n:08x}" for n in range(20_000)]) % np.uint64(64)).astype(int))
    assert counts.min() > 230
    assert counts.max() < 400


def simple() -> Encoding:
    fields = Fields.of(
        {
            "color": {"kind": "categorical", "buckets": 3},
            "worn": {"kind": "multi_hot", "table": "color", "most": 2},
            "price": {"kind": "dense"},
        }
    )
    return Encoding(fields, {"color": ["red", "7", "true"]})


def test_known_missing_and_strange_categories() -> None:
    encoding = simple()
    color, worn, _ = encoding.fields.all
    first = FIRST + 3
    assert encoding.size(color) == first + 3
    ids = encoding.ids(color, ["red", 7, "7", True, None, "", "green", "-1", -1])
    assert ids[:6].tolist() == [first, first + 1, first + 1, first + 2, MISSING, MISSING]
    assert all(FIRST <= i < first for i in ids[6:])
    assert ids[7] == ids[8], "a number is its text"
    assert ids[6] == FIRST + reference("green") % 3
    values, lengths = encoding.bags(worn, [["red", "7", "green"], [], None, ("red",)])
    assert lengths.tolist() == [2, 0, 1, 1], "the last two; an empty bag; a missing one"
    assert values.tolist() == [first + 1, ids[6], MISSING, first]
    assert padded(values, lengths).tolist() == [[first + 1, ids[6]], [0, 0], [MISSING, 0],
                                                [first, 0]]  # fmt: skip


def test_numbers() -> None:
    encoding = simple()
    price = encoding.fields.dense[0]
    found = encoding.numbers(price, [1, 2.5, None, math.nan, np.float32(3)])
    assert found[[0, 1, 4]].tolist() == [1.0, 2.5, 3.0]
    assert np.isnan(found[2:4]).all()
    for value in ("3", True, 1e300, -1e39, math.inf, [1], 10**400):
        with pytest.raises(FieldError, match="price is"):
            encoding.numbers(price, [value])
    for value in (1.5, {}, b"x"):
        with pytest.raises(FieldError, match=r"color is .*a category is text"):
            encoding.ids(encoding.fields.all[0], [value])
    with pytest.raises(FieldError, match="worn is 'red'; it must be a list"):
        encoding.bags(encoding.fields.all[1], ["red"])


def test_the_written_encoding_is_the_same() -> None:
    frame = rows(500)
    encoding = encoding_of(Fields.of(FIELDS), frame)
    read = Encoding.from_json(json.loads(json.dumps(encoding.as_json())))
    for field in encoding.fields.all:
        values = frame[field.name].to_list()
        assert np.array_equal(
            read.column(field, values), encoding.column(field, values), equal_nan=True
        )


def test_vocabularies_hold_the_frequent_of_all_who_share_them() -> None:
    frame = pl.DataFrame(
        {"a": ["x", "x", "y", None, ""], "b": [["y", "z"], [], None, ["y"], ["q", None]]}
    )
    settings = {"a": {"kind": "categorical", "vocabulary": 3},
                "b": {"kind": "multi_hot", "table": "a"}}  # fmt: skip
    assert encoding_of(Fields.of(settings), frame).vocabularies == {"a": ["y", "x", "q"]}
    settings["a"]["min_count"] = 2
    assert encoding_of(Fields.of(settings), frame).vocabularies == {"a": ["y", "x"]}


def test_batches_hold_what_rows_hold() -> None:
    """Gathers from flat tensors against each row coded by itself."""
    frame = rows(200)
    encoding = encoding_of(Fields.of(FIELDS), frame)
    examples = Examples.of(encoding, frame)
    places = random.Random(0).sample(range(200), 40)
    chosen = examples.only(torch.tensor(places))
    for source in (examples.take(torch.tensor(places)), chosen.take(torch.arange(40))):
        assert source.label.tolist() == frame["label"].gather(places).to_list()
        for field in encoding.fields.bags:
            values = frame[field.name].gather(places).to_list()
            jagged = source.bags[field.name]
            if field.kind == "categorical":
                assert jagged.values().tolist() == encoding.ids(field, values).tolist()
                assert jagged.lengths().tolist() == [1] * 40
            else:
                ids, lengths = encoding.bags(field, values)
                assert jagged.values().tolist() == ids.tolist()
                assert jagged.lengths().tolist() == lengths.tolist()
        for n, field in enumerate(encoding.fields.dense):
            expected = encoding.numbers(field, frame[field.name].gather(places).to_list())
            assert np.array_equal(source.dense[:, n].numpy(), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"a b": {"kind": "dense"}}, "a name has letters"),
        ({"a": {"kind": "number"}}, "kind is 'number'; it is one of"),
        ({"a": {"kind": "dense", "side": "shop"}}, "side is 'shop'"),
        ({"a": {"kind": "dense", "lgo": True}}, r"no setting 'lgo' \(is it log\?\)"),
        ({"a": {"kind": "categorical", "buckets": 0}}, "buckets is 0; at least 1"),
        ({"a": {"kind": "multi_hot", "table": "b"}}, "table 'b' is no categorical field"),
        ({"a": None}, "no fields"),
    ],
)
def test_fields_that_make_no_row(settings: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(FieldError, match=words):
        Fields.of(settings)
