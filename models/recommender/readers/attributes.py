"""What is known of items or users besides who touched them: text, categories, numbers as text.

Limits: one table in memory; a later row of an id replaces an earlier one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers.checks import id_text
from models.recommender.readers.files import find, read_lines
from models.recommender.readers.tables import read_tables

log = logging.getLogger(__name__)


@dataclass
class AttributeReader:
    """Read a table of attributes and put its rows in the order of a vocabulary.

    Args:
        path: RecBole's tab-separated `.item` or `.user` file, or the folder that holds one; or
            whatever `TableReader` takes: `.csv`, `.tsv`, `.parquet`.
        id: column of the ids.
        text: columns that are joined into one text.
        categories: column → separator of its several values; null: it has one.
        buckets: column of numbers → width of the ranges that are its categories.
        names: file patterns to look for in a folder before tables.
        max_missing_share: largest share of ids that the table may lack; they get no attributes.
    """

    path: str | Path
    id: str
    text: Sequence[str] = ()
    categories: Mapping[str, str | None] = field(default_factory=dict)
    buckets: Mapping[str, float] = field(default_factory=dict)
    names: Sequence[str] = ("*.item",)
    max_missing_share: float = 0.5

    def read(self, ids: pl.Series) -> pl.DataFrame:
        """`text` (str, "" where nothing is known) and `categories` (list of `column=value`).

        Raises:
            MissingInputError: no such file.
            DataError: a column that the table lacks, or too many ids that it lacks; the message
                names some.
        """
        table = self._table()
        wanted = [self.id, *self.text, *self.categories, *self.buckets]
        absent = [c for c in wanted if c not in table.columns]
        if absent:
            raise DataError(f"{self.path}: no column {absent[0]!r}; it has {table.columns}")
        values = [
            *(self._values(column, separator) for column, separator in self.categories.items()),
            *(self._range(column, width) for column, width in self.buckets.items()),
        ]
        texts = pl.concat_str([pl.col(c).cast(pl.String) for c in self.text], separator=" ",
                              ignore_nulls=True) if self.text else pl.lit("")  # fmt: skip
        known = table.select(
            id_text(self.id, table.schema[self.id]).alias("id"),
            texts.fill_null("").alias("text"),
            (pl.concat_list(values) if values else pl.lit([], pl.List(pl.String))).alias(
                "categories"
            ),
        ).unique("id", keep="last", maintain_order=True)
        asked = pl.DataFrame({"id": ids.cast(pl.String)})
        rows = asked.join(known, on="id", how="left", maintain_order="left")
        self._complain(asked["id"].filter(rows["text"].is_null()), len(asked))
        return rows.select(pl.col("text").fill_null(""), pl.col("categories").fill_null([]))

    @staticmethod
    def _values(column: str, separator: str | None) -> pl.Expr:
        text = pl.col(column).cast(pl.String)
        values = text.str.split(separator) if separator else pl.concat_list(text)
        trimmed = pl.element().str.strip_chars()
        named = pl.format("{}={}", pl.lit(column), trimmed.filter(trimmed != ""))
        return values.list.eval(named).fill_null([])

    @staticmethod
    def _range(column: str, width: float) -> pl.Expr:
        start = (pl.col(column).cast(pl.Float64, strict=False) / width).floor() * width
        named = pl.format("{} from {}", pl.lit(column), start)
        return pl.concat_list(named).list.drop_nulls()

    def _table(self) -> pl.DataFrame:
        path = Path(self.path)
        recbole = [n for n in self.names if path.match(n) or any(path.glob(n))]
        if not recbole:
            return pl.concat([t.frame for t in read_tables(path)], how="vertical_relaxed")
        source = find(path, recbole)
        header, *_ = read_lines(source)["text"]
        columns = [name.split(":")[0] for name in header.split("\t")]
        return pl.read_csv(
            source,
            separator="\t",
            quote_char=None,
            infer_schema=False,
            has_header=False,
            skip_rows=1,
            new_columns=columns,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        )

    def _complain(self, missing: pl.Series, asked: int) -> None:
        if missing.is_empty():
            return
        some = ", ".join(missing.head(5).to_list())
        message = f"{self.path}: lacks {len(missing)} of {asked} ids (such as {some})"
        share = len(missing) / asked
        if share > self.max_missing_share:
            raise DataError(
                f"{message}. That is {share:.1%}, more than max_missing_share="
                f"{self.max_missing_share:.1%}"
            )
        log.warning("%s: they have no attributes", message)
