"""What is known of items, from any table: one row an item, ids as text."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers.checks import id_text
from models.recommender.readers.files import find
from models.recommender.readers.tables import Table, read_tables
from models.recommender.rejects import Rejects

log = logging.getLogger(__name__)


@dataclass
class ItemTableReader:
    """Read a CSV, TSV or Parquet table of items.

    Args:
        path: the file, or a folder of files of one kind.
        id: the column of item ids; whole numbers of any size and sign are read as they are written.
        rejects: file for the rows without a usable id, and for later rows of an id.
    """

    path: str | Path
    rejects: str | Path
    id: str = "item_id"
    max_reject_share: float = 0.01

    def read(self) -> pl.DataFrame:
        """Column item_id (text, unique) and all others as they are.

        Raises:
            MissingInputError: no such file.
            DataError: there is no such id column, a file cannot be parsed, or too many bad rows.
        """
        tables = read_tables(self.path)
        for table in tables:
            if self.id not in table.frame.columns:
                raise DataError(
                    f"{table.path}: no column {self.id!r}; it has {table.frame.columns}"
                )
        rows = pl.concat([t.frame for t in tables], how="diagonal_relaxed")
        ids = rows.select(id_text(self.id, rows.schema[self.id])).to_series()
        # Checked apart from the table, whose columns may have any name, `text` or `reason` too.
        checked = _checked(tables, ids)
        whole = pl.concat([checked, *(t.broken for t in tables)], how="diagonal_relaxed")
        good = Rejects(Path(self.rejects), self.max_reject_share).set_aside(whole, Path(self.path))
        kept = rows[good["row"]].drop(self.id, "item_id", strict=False)
        return kept.insert_column(0, ids.gather(good["row"]).alias("item_id"))


@dataclass
class AttributeJsonReader:
    """Read one JSON object, item id → list of attributes, as sequence benchmarks pass them around.

    Args:
        path: the file, or a folder that holds one `*attributes*.json`.
    """

    path: str | Path

    def read(self) -> pl.DataFrame:
        """Columns item_id and attributes (list of text).

        Raises:
            MissingInputError: no such file.
            DataError: not a JSON object of lists; the text names the item.
        """
        source = find(self.path, ("*attributes*.json",))
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{source}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise DataError(
                f"{source}: a JSON {type(content).__name__}; an object, item id → list of "
                "attributes, is expected"
            )
        for item, attributes in content.items():
            if not isinstance(attributes, list):
                raise DataError(
                    f"{source}: item {item!r} has {attributes!r}; a list of attributes is expected"
                )
        return pl.DataFrame(
            {
                "item_id": [item.strip() for item in content],
                "attributes": [[str(a) for a in listed] for listed in content.values()],
            },
            schema={"item_id": pl.String, "attributes": pl.List(pl.String)},
        )


def _checked(tables: Sequence[Table], ids: pl.Series) -> pl.DataFrame:
    """Where each row stands, and a reason for those that have no id or repeat an earlier one."""
    places = [
        t.lines().alias("line").to_frame().with_columns(pl.lit(str(t.path)).alias("source"))
        for t in tables
    ]
    empty = pl.col("text") == ""
    again = ~pl.col("text").is_first_distinct()
    return (
        pl.concat(places)
        .with_row_index("row")
        .with_columns(ids.fill_null("").alias("text"))
        .with_columns(
            pl.when(empty)
            .then(pl.lit("empty item id"))
            .when(again)
            .then(pl.lit("item id occurs before"))
            .otherwise(None)
            .alias("reason")
        )
    )
