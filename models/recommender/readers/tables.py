"""A CSV, TSV or Parquet file as rows, the records that are broken, and where each stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers.files import find_all
from models.recommender.readers.line_numbers import record_lines

log = logging.getLogger(__name__)

_PATTERNS = ("**/*.parquet", "*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz")


def read_tables(path: str | Path) -> list[Table]:
    """The file, or all files of the folder that are of the first kind found there.

    Raises:
        MissingInputError: nothing is there.
        DataError: a file cannot be parsed.
    """
    return [
        read_parquet(file) if file.suffix == ".parquet" else read_text(file)
        for file in find_all(path, _PATTERNS)
    ]


@dataclass
class Table:
    """One file, parsed: its rows, and the records whose number of fields is wrong."""

    path: Path
    frame: pl.DataFrame
    broken: pl.DataFrame  # source, line, text, reason
    lines: Callable[[], pl.Series]  # the line of each row: costs a look at the file


def read_parquet(path: Path) -> Table:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})"
        ) from error
    return Table(path, frame, _broken(path, [], []), lambda: _series(range(1, len(frame) + 1)))


def read_text(path: Path) -> Table:
    """DuckDB parses quotes and sets aside records of the wrong arity."""
    if not path.stat().st_size:
        raise DataError(f"{path}: an empty file; a first line with the columns' names is needed")
    with duckdb.connect() as connection:
        try:
            table = connection.sql(
                "SELECT * FROM read_csv($path, header = true, all_varchar = true, "
                "store_rejects = true, sample_size = 20480)",
                params={"path": str(path)},
            ).to_arrow_table()
            rejected = connection.execute(
                "SELECT line_byte_position - 1, first(csv_line) FROM reject_errors GROUP BY ALL "
                "ORDER BY ALL"
            ).fetchall()
            scans = connection.execute("SELECT quote FROM reject_scans").fetchall()
        except duckdb.Error as error:
            raise DataError(
                f"{path}: cannot be parsed as a table ({str(error).splitlines()[0]})"
            ) from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame), "a table of several columns is a frame"
    quote = next((q for (q,) in scans if q != "(empty)"), '"')

    def lines() -> pl.Series:
        kept, _ = record_lines(path, rejected, quote)
        if len(kept) != len(frame):
            log.warning("%s: line numbers cannot be told; rejects are listed without", path)
            return pl.Series("line", [None] * len(frame), pl.Int64)
        return _series(kept)

    aside = record_lines(path, rejected, quote)[1].tolist() if rejected else []
    return Table(path, frame, _broken(path, aside, [text for _, text in rejected]), lines)


def _broken(path: Path, lines: list[int], texts: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"line": lines, "text": [text.strip("\r\n") for text in texts]},
        schema={"line": pl.Int64, "text": pl.String},
    )
    return frame.with_columns(
        pl.lit(str(path)).alias("source"), pl.lit("wrong number of fields").alias("reason")
    )


def _series(lines: Iterable[int]) -> pl.Series:
    return pl.Series("line", lines, pl.Int64)
