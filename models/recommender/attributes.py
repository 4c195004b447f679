"""What is known of items or users besides who touched them, in the order of a vocabulary.

Content and rating models take it as text and categories, towers as codes, numbers and vectors of
texts. An id without a row is reported, not lost: it has no attributes.

Limits: one table in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from models.pretrained import TextVectors
from models.recommender.interactions import DataError
from models.recommender.readers.attributes import KEY, AttributeReader
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.content_encoder import (
    Columns,
    ContentEncoder,
    numbers_of,
    report_words,
    texts_of,
    values_of,
)
from models.recommender.retrieval.profiles import Profiles, raw_values

log = logging.getLogger(__name__)


@dataclass
class AttributeTable:
    """A table of attributes and which of its columns say what.

    Args:
        path, id, names, rejects, max_reject_share: see `readers.attributes.AttributeReader`.
        missing: file for the ids that have no row; written if there are any.
        categories: columns of one value each, or of lists.
        separator: of several values in a text column; None: a text is one value.
        numbers: columns of numbers, which towers read.
        buckets: column of numbers → width of the ranges that are categories, for other models.
        texts: columns that are joined into one text.
        encoder: makes vectors of texts for towers; see `models.pretrained.encoder_folder`.
        min_count: training items, or users, that must share a category value for towers to know it.
        features: column of users → the feature store's `view:feature`, where serving finds it.
        text_cache: folder of text vectors; None: they are computed every time.
        max_missing_share: a larger share of ids without a row fails.
    """

    path: str | Path
    rejects: str | Path
    missing: str | Path
    id: str = "item_id"
    names: Sequence[str] = ()
    categories: Sequence[str] = ()
    separator: str | None = None
    numbers: Sequence[str] = ()
    buckets: Mapping[str, float] = field(default_factory=dict)
    texts: Sequence[str] = ()
    encoder: str | None = None
    min_count: int = 2
    features: Mapping[str, str | None] = field(default_factory=dict)
    text_cache: str | None = None
    max_reject_share: float = 0.01
    max_missing_share: float = 0.5

    def read(self, ids: pl.Series) -> pl.DataFrame:
        """`text` ("" where nothing is known) and `categories` (list of `column=value`).

        Raises:
            MissingInputError: no such file.
            DataError: a column that the table lacks, or too many ids that it lacks; the message
                names some.
        """
        columns = self._columns(encoder=None)
        frame, _ = self._aligned(ids, columns)
        values = values_of(frame, columns)
        for column, width in self.buckets.items():
            number = numbers_of(frame[column])
            for row, start in zip(values, (number / width).floor() * width, strict=True):
                if start is not None:
                    row.append(f"{column} from {start}")
        text = texts_of(frame, columns) if self.texts else [""] * len(frame)
        return pl.DataFrame(
            {"text": text, "categories": values},
            schema={"text": pl.String, "categories": pl.List(pl.String)},
        )

    def load(self, ids: pl.Series, trained: np.ndarray) -> tuple[ContentEncoder, ItemContent]:
        """What an encoder learnt, and content [V + 1] by graph id (row 0 is padding).

        Args:
            ids: the vocabulary [V]; graph id = position + 1.
            trained: [V] bool, items that occur in training: the encoder learns from these alone.

        Raises:
            DataError: as `read`, or there are texts and no encoder.
        """
        columns = self._columns(self.encoder)
        columns.check_encoder()
        frame, found = self._aligned(ids, columns)
        texts = TextVectors(columns.encoder, self.text_cache) if columns.encoder else None
        encoder = ContentEncoder.fit(frame.filter(trained & found), columns, self.min_count, texts)
        content = encoder.encode(frame, texts)
        nothing = int(content.empty().sum()) - int((~found).sum())
        if nothing > 0:
            log.warning("%s: %d rows say nothing (no attribute, number or text)", self.path,
                        nothing)  # fmt: skip
        return encoder, content.padded()

    def profiles(self, ids: pl.Series, trained: np.ndarray) -> Profiles:
        """What a user tower reads, by graph code; row 0 is a user of whom nothing is known.

        Args:
            ids: the users' vocabulary [U]; graph code = position + 1.
            trained: [U] bool, users that occur in training.

        Raises:
            DataError: as `read`, or texts, or no column to read.
            FieldError: a column that cannot be an input, or a value that is no category.
        """
        columns = self._columns(encoder=None)
        frame, found = self._aligned(ids, columns)
        return Profiles.of(frame, trained & found, columns, self.features, self.min_count)

    def values(self, ids: pl.Series) -> pl.DataFrame:
        """Categories and numbers as towers take them raw, a row for each id; null: not known.

        Raises:
            DataError: as `read`.
        """
        columns = self._columns(encoder=None)
        frame, _ = self._aligned(ids, columns)
        return pl.DataFrame(raw_values(frame, columns))

    def _columns(self, encoder: str | None) -> Columns:
        return Columns(
            tuple(self.categories), tuple(self.numbers), tuple(self.texts), encoder, self.separator
        )

    def _aligned(self, ids: pl.Series, columns: Columns) -> tuple[pl.DataFrame, np.ndarray]:
        """A row for each id, nulls where the table has none; and [V] bool, which have one."""
        reader = AttributeReader(
            self.path, self.rejects, self.id, self.names, self.max_reject_share
        )
        table = reader.read()
        columns.check(table, *self.buckets)
        for name in columns.numbers:
            if name not in columns.categories:  # which profiles refuse in their own words
                report_words(table, name, str(self.path))
        asked = ids.cast(pl.String).alias(KEY)
        found = asked.is_in(table[KEY].implode()).to_numpy()
        self._report(asked, found, table)
        return asked.to_frame().join(table, on=KEY, how="left", maintain_order="left"), found

    def _report(self, ids: pl.Series, found: np.ndarray, table: pl.DataFrame) -> None:
        if not found.any():
            raise DataError(
                f"{self.path}: none of {len(ids)} ids is among the {len(table)} that it has; they "
                f"begin {ids.head(3).to_list()} there and {table[KEY].head(3).to_list()} here"
            )
        lacking = ids.filter(~pl.Series(found))
        if lacking.is_empty():
            return
        path = Path(self.missing)
        path.parent.mkdir(parents=True, exist_ok=True)
        lacking.to_frame().write_csv(path)
        some = ", ".join(lacking.head(5).to_list())
        message = (
            f"{self.path}: lacks {len(lacking)} of {len(ids)} ids (such as {some}); see {path}"
        )
        share = len(lacking) / len(ids)
        if share > self.max_missing_share:
            raise DataError(
                f"{message}. That is {share:.1%}, more than max_missing_share="
                f"{self.max_missing_share:.1%}"
            )
        log.warning("%s: they have no attributes", message)
