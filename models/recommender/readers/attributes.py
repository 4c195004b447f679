"""Tables of what is known of items or users, in every form they are passed around in.

CSV, TSV and Parquet; RecBole's tab-separated `.item` and `.user`; one JSON object, id → list of
attributes, as sequence benchmarks come with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers.checks import id_text
from models.recommender.readers.files import find, read_lines
from models.recommender.readers.tables import Table, read_tables
from models.recommender.rejects import Rejects

log = logging.getLogger(__name__)

KEY = "id"  # the column of ids in what is read
_BROKEN = {"source": pl.String, "line": pl.Int64, "text": pl.String, "reason": pl.String}


@dataclass
class AttributeReader:
    """Read a table whose rows are items, or users.

    Args:
        path: the file, or a folder of files of one kind.
        rejects: file for the rows without a usable id, and for later rows of an id.
        id: the column of ids; whole numbers of any size and sign are read as they are written.
        names: patterns to look for in a folder before tables, such as `*.item` or `*.json`.
        max_reject_share: a larger share of bad rows fails.
    """

    path: str | Path
    rejects: str | Path
    id: str = "item_id"
    names: Sequence[str] = ()
    max_reject_share: float = 0.01

    def read(self) -> pl.DataFrame:
        """Column `id` (text, unique) and all others as they are.

        Raises:
            MissingInputError: no such file.
            DataError: there is no such id column, a file cannot be parsed, or too many bad rows.
        """
        tables = self._tables()
        for table in tables:
            if self.id not in table.frame.columns:
                raise DataError(
                    f"{table.path}: no column {self.id!r}; it has {table.frame.columns}; the "
                    "setting id names the column of ids"
                )
        rows = pl.concat([t.frame for t in tables], how="diagonal_relaxed")
        ids = rows.select(id_text(self.id, rows.schema[self.id])).to_series()
        # Checked apart from the table, whose columns may have any name, `text` or `reason` too.
        checked = _checked(tables, ids)
        whole = pl.concat([checked, *(t.broken for t in tables)], how="diagonal_relaxed")
        good = Rejects(Path(self.rejects), self.max_reject_share).set_aside(whole, Path(self.path))
        kept = rows[good["row"]].drop(self.id, KEY, strict=False)
        return kept.insert_column(0, ids.gather(good["row"]).alias(KEY))

    def _tables(self) -> list[Table]:
        path = Path(self.path)
        named = [n for n in (*self.names, "*.json") if path.match(n)]
        if path.is_dir():
            named = [n for n in self.names if any(path.glob(n))]
        if not named:
            return read_tables(path)
        source = find(path, named)
        if source.suffix == ".json":
            return [_json(source, self.id)]
        return [_recbole(source)] if source.suffix in (".item", ".user") else read_tables(source)


def _recbole(source: Path) -> Table:
    """Columns `name:type`, separated by tabs, quotes being text."""
    header, *_ = read_lines(source)["text"]
    columns = [name.split(":")[0] for name in header.split("\t")]
    frame = pl.read_csv(
        source, separator="\t", quote_char=None, infer_schema=False, has_header=False,
        skip_rows=1, new_columns=columns, encoding="utf8-lossy", truncate_ragged_lines=True,
    )  # fmt: skip
    lines = pl.Series(range(2, len(frame) + 2), dtype=pl.Int64)
    return Table(source, frame, pl.DataFrame(schema=_BROKEN), lambda: lines)


def _json(source: Path, key: str) -> Table:
    """Columns of the ids and `attributes` (list of text)."""
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{source}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{source}: a JSON {type(content).__name__}; an object, id → list of attributes, is "
            "expected"
        )
    for name, attributes in content.items():
        if not isinstance(attributes, list):
            raise DataError(
                f"{source}: {name!r} has {attributes!r}; a list of attributes is expected"
            )
    frame = pl.DataFrame(
        {key: list(content), "attributes": [[str(a) for a in v] for v in content.values()]},
        schema={key: pl.String, "attributes": pl.List(pl.String)},
    )
    unknown = pl.Series([None] * len(frame), dtype=pl.Int64)
    return Table(source, frame, pl.DataFrame(schema=_BROKEN), lambda: unknown)


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
            .then(pl.lit("empty id"))
            .when(again)
            .then(pl.lit("id occurs before"))
            .otherwise(None)
            .alias("reason")
        )
    )
