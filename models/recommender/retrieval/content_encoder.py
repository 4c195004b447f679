"""From a table of items to what a tower reads, learnt on the items of the training.

Values of the chosen columns get codes, numbers stay numbers, texts become vectors of a pretrained
encoder. What was learnt is one JSON object, kept in the artifact, so that new items are read as
those of the training were.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch

from models.pretrained import TextVectors
from models.recommender.interactions import DataError
from models.recommender.readers.attributes import KEY
from models.recommender.retrieval.content import ItemContent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Which columns of an item table say what.

    Args:
        categories: one value each, or a list; text columns are split at `separator` if it is set.
        numbers: numeric columns; what is no finite number is missing.
        texts: joined, in this order, to the text that the encoder reads.
        encoder: see `models.pretrained.encoder_folder`; needed where there are texts.
    """

    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    encoder: str | None = None
    separator: str | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Columns:
        lists = {k: tuple(raw.get(k) or ()) for k in ("categories", "numbers", "texts")}
        return cls(**lists, encoder=raw.get("encoder"), separator=raw.get("separator"))

    def check(self, frame: pl.DataFrame, *more: str) -> None:
        """Raises `DataError` for a column, of these or `more`, that the table lacks."""
        for name in (*self.categories, *self.numbers, *self.texts, *more):
            if name not in frame.columns:
                raise DataError(
                    f"the table of attributes has no column {name!r}; it has "
                    f"{[c for c in frame.columns if c != KEY]}"
                )

    def check_encoder(self) -> None:
        """Raises `DataError` for texts that nothing reads."""
        if self.texts and not self.encoder:
            raise DataError(f"texts are {list(self.texts)}, but no encoder is given to read them")


@dataclass(frozen=True)
class ContentEncoder:
    """What an item's row means: codes of category values, the width of texts.

    Args:
        codes: `column=value` → code from 1.
        text_width: E; 0 without texts.
    """

    columns: Columns
    codes: Mapping[str, int] = field(default_factory=dict)
    text_width: int = 0

    @classmethod
    def fit(
        cls, frame: pl.DataFrame, columns: Columns, min_count: int, texts: TextVectors | None
    ) -> ContentEncoder:
        """Learn from the items of the training.

        Args:
            min_count: items that must share a value, or it says too little to learn from.

        Raises:
            DataError: a column is not there.
        """
        columns.check(frame)
        columns.check_encoder()
        counts: dict[str, int] = {}
        for values in values_of(frame, columns):
            for value in values:
                counts[value] = counts.get(value, 0) + 1
        kept = sorted(value for value, n in counts.items() if n >= min_count)
        width = 0
        if columns.texts and texts is not None:
            width = texts.of(texts_of(frame, columns)).shape[1]
        return cls(columns, {value: n + 1 for n, value in enumerate(kept)}, width)

    def encode(self, frame: pl.DataFrame, texts: TextVectors | None) -> ItemContent:
        """Rows of the table → M rows of content; values never seen in training are left out.

        Raises:
            DataError: a column is not there.
        """
        self.columns.check(frame)
        rows = values_of(frame, self.columns)
        coded = [[self.codes[v] for v in values if v in self.codes] for values in rows]
        unknown = sum(map(len, rows)) - sum(map(len, coded))
        if unknown:
            log.info("items: %d attribute values did not occur in training", unknown)
        width = max(map(len, coded), default=0) if self.codes else 0
        width = max(width, 1) if self.codes else 0
        attributes = np.zeros((len(frame), width), dtype=np.int64)
        for row, values in zip(attributes, coded, strict=True):
            row[: len(values)] = values
        return ItemContent(
            torch.from_numpy(attributes),
            torch.from_numpy(_numbers(frame, self.columns.numbers)),
            torch.from_numpy(self._text(frame, texts)),
        )

    def _text(self, frame: pl.DataFrame, texts: TextVectors | None) -> np.ndarray:
        if not self.text_width:
            return np.zeros((len(frame), 0), dtype=np.float32)
        assert texts is not None, "an encoder with texts needs text vectors"
        vectors = texts.of(texts_of(frame, self.columns))
        if not vectors.shape[1]:  # no row has a text
            return np.zeros((len(frame), self.text_width), dtype=np.float32)
        if vectors.shape[1] != self.text_width:
            raise DataError(
                f"encoder {self.columns.encoder!r} gives {vectors.shape[1]} numbers a text; the "
                f"training's gave {self.text_width}"
            )
        return vectors

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ContentEncoder:
        return cls(Columns.of(raw["columns"]), raw["codes"], raw["text_width"])


def numbers_of(column: pl.Series) -> pl.Series:
    """Finite numbers; null for what is missing or none. Text may have spaces around its number."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    number = column.cast(pl.Float64, strict=False)
    return pl.select(pl.when(number.is_finite()).then(number)).to_series()


def report_words(frame: pl.DataFrame, name: str, where: str) -> None:
    """Say which values of a column of numbers are none, and are therefore taken as missing.

    Raises:
        DataError: the column holds no number at all, but something else.
    """
    column, number = frame[name], numbers_of(frame[name])
    if column.dtype != pl.String:
        return
    column = column.str.strip_chars()
    wrong = column.is_not_null() & (column != "") & number.is_null()
    if not wrong.any():
        return
    row = wrong.arg_true()[0]
    found = (
        f"{where}: {wrong.sum()} of {len(column)} values of column {name!r} are no numbers, such "
        f"as {column[row]!r} of {frame[KEY][row]}"
    )
    if number.null_count() == len(number):
        raise DataError(f"{found}, and none is; a column of words goes among the categories")
    log.warning("%s; they are taken as missing", found)


def values_of(frame: pl.DataFrame, columns: Columns) -> list[list[str]]:
    """`column=value` of every row; the same value twice counts once."""
    rows: list[list[str]] = [[] for _ in range(len(frame))]
    for name in columns.categories:
        column = frame[name]
        if isinstance(column.dtype, pl.List):
            column = column.cast(pl.List(pl.String))
        else:
            column = column.cast(pl.String)
            if columns.separator:
                column = column.str.split(columns.separator)
        for row, value in zip(rows, column.to_list(), strict=True):
            listed = value if isinstance(value, list) else [value]
            clean = dict.fromkeys(v.strip() for v in listed if v and v.strip())
            row.extend(f"{name}={v}" for v in clean)
    return rows


def _numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """[M, N] float32; NaN for what is missing, not a number or not finite."""
    numbers = np.full((len(frame), len(names)), np.nan, dtype=np.float32)
    for n, name in enumerate(names):
        column = numbers_of(frame[name]).cast(pl.Float32).fill_null(float("nan")).to_numpy()
        numbers[:, n] = np.where(np.isfinite(column), column, np.nan)
    return numbers


def texts_of(frame: pl.DataFrame, columns: Columns) -> list[str]:
    """The joined texts of every row; "" where it has none."""
    joined = frame.select(
        pl.concat_str(
            [pl.col(c).cast(pl.String).fill_null("") for c in columns.texts], separator=" "
        ).str.strip_chars()
    )
    return joined.to_series().to_list()
