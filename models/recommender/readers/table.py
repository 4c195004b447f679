"""Any CSV, TSV or Parquet table, by a mapping of its columns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers import checks
from models.recommender.readers.files import find_all
from models.recommender.readers.line_numbers import record_lines
from models.recommender.rejects import Rejects

log = logging.getLogger(__name__)

_PATTERNS = ("**/*.parquet", "*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz")
_FIELDS = ("user_id", "item_id", "rating", "timestamp")


@dataclass
class TableReader:
    """Read interactions from a table with its own column names.

    Args:
        path: a `.csv`, `.tsv` (also `.gz`) or `.parquet` file, or a folder, all of whose files of
            the first such kind are read (Parquet also from folders within it).
        columns: our name → the table's; user_id and item_id are required.
        time_unit: s, ms, us for numbers; iso for text; ignored for real Parquet timestamps.
    """

    path: str | Path
    columns: dict[str, str | None]
    rejects: str | Path
    time_unit: checks.TimeUnit = "s"
    max_reject_share: float = 0.01
    min_rating: float | None = None

    def read(self) -> pl.DataFrame:
        """Columns user_id, item_id, rating, timestamp; several files follow one another by name.

        Raises:
            MissingInputError: no such file.
            DataError: a mapped column that a table lacks, or a file that cannot be parsed.
        """
        if self.time_unit not in checks.TIME_UNITS:
            raise DataError(
                f"data.reader.time_unit is {self.time_unit!r}; {', '.join(checks.TIME_UNITS)} are "
                "accepted"
            )
        mapping = {ours: theirs for ours, theirs in self.columns.items() if theirs}
        if not {"user_id", "item_id"} <= set(mapping) <= set(_FIELDS):
            raise DataError(
                f"data.columns maps {sorted(mapping)}; user_id and item_id are needed, rating and "
                "timestamp may be given"
            )
        tables = [
            _parquet(file) if file.suffix == ".parquet" else _text(file)
            for file in find_all(self.path, _PATTERNS)
        ]
        rows = pl.concat([self._rows(t, mapping) for t in tables], how="vertical_relaxed")
        unit = self.time_unit
        if "timestamp" in rows.columns and rows["timestamp"].dtype.is_temporal():
            unit = "us"
            rows = rows.with_columns(pl.col("timestamp").dt.epoch("us"))
        checked = checks.interactions(
            rows, rating="rating" in mapping, time=unit if "timestamp" in mapping else None
        ).with_columns(rows["source"])
        if checked["reason"].null_count() < len(checked) or any(len(t.broken) for t in tables):
            checked = checked.with_columns(pl.concat([t.lines() for t in tables]).alias("line"))
        rejects = Rejects(Path(self.rejects), self.max_reject_share)
        frame = rejects.set_aside(
            pl.concat([checked, *(t.broken for t in tables)], how="diagonal_relaxed"),
            Path(self.path),
        )
        if self.min_rating is not None:
            frame = frame.filter(pl.col("rating") >= self.min_rating)
        return frame

    @staticmethod
    def _rows(table: _Table, mapping: dict[str, str]) -> pl.DataFrame:
        raw = table.frame
        absent = [name for name in mapping.values() if name not in raw.columns]
        if absent:
            raise DataError(f"{table.path}: no column {absent[0]!r}; it has {raw.columns}")
        return raw.select(
            pl.lit(str(table.path)).alias("source"),
            pl.lit(None, pl.Int64).alias("line"),
            pl.concat_str(
                [pl.col(c).cast(pl.String).fill_null("") for c in mapping.values()], separator=","
            ).alias("text"),
            *(pl.col(theirs).alias(ours) for ours, theirs in mapping.items()),
        )


@dataclass
class _Table:
    """One file, parsed: its rows, and the records whose number of fields is wrong."""

    path: Path
    frame: pl.DataFrame
    broken: pl.DataFrame  # source, line, text, reason
    lines: Callable[[], pl.Series]  # the line of each row: costs a look at the file


def _parquet(path: Path) -> _Table:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})"
        ) from error
    return _Table(path, frame, _broken(path, [], []), lambda: _series(range(1, len(frame) + 1)))


def _text(path: Path) -> _Table:
    """DuckDB parses quotes and sets aside records of the wrong arity."""
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
    return _Table(path, frame, _broken(path, aside, [text for _, text in rejected]), lines)


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
