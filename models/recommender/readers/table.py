"""Any CSV, TSV or Parquet table, by a mapping of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers import checks
from models.recommender.readers.files import find
from models.recommender.rejects import Rejects

_FIELDS = ("user_id", "item_id", "rating", "timestamp")


@dataclass
class TableReader:
    """Read interactions from a table with its own column names.

    Args:
        path: a `.csv`, `.tsv` (also `.gz`) or `.parquet` file, or a folder of one kind of them.
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
        """Columns user_id, item_id, rating, timestamp.

        Raises:
            MissingInputError: no such file.
            DataError: a mapped column that the table lacks, or a file that cannot be parsed.
        """
        source = find(self.path, ("*.parquet", "*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz"))
        mapping = {ours: theirs for ours, theirs in self.columns.items() if theirs}
        unknown = set(mapping) - set(_FIELDS)
        if unknown or not {"user_id", "item_id"} <= set(mapping):
            raise DataError(
                f"data.columns maps {sorted(mapping)}; user_id and item_id are needed, rating and "
                "timestamp may be given"
            )
        parquet = source.suffix == ".parquet"
        raw, broken = self._parquet(source) if parquet else self._text(source)
        absent = [name for name in mapping.values() if name not in raw.columns]
        if absent:
            raise DataError(f"{source}: no column {absent[0]!r}; it has {raw.columns}")
        rows = raw.select(
            "line",
            pl.concat_str(
                [pl.col(c).cast(pl.String).fill_null("") for c in mapping.values()], separator=","
            ).alias("text"),
            *(pl.col(theirs).alias(ours) for ours, theirs in mapping.items()),
        )
        unit = self.time_unit
        if "timestamp" in rows.columns and rows["timestamp"].dtype.is_temporal():
            unit = "us"
            rows = rows.with_columns(pl.col("timestamp").dt.epoch("us"))
        checked = checks.interactions(
            rows, rating="rating" in mapping, time=unit if "timestamp" in mapping else None
        )
        frame = Rejects(Path(self.rejects), self.max_reject_share).set_aside(
            pl.concat([checked, broken], how="diagonal_relaxed"), source
        )
        if self.min_rating is not None:
            frame = frame.filter(pl.col("rating") >= self.min_rating)
        return frame

    def _parquet(self, source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
        try:
            frame = pl.read_parquet(source)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{source}: not a readable Parquet file ({str(error).splitlines()[0]})"
            ) from error
        return frame.with_columns(pl.int_range(1, pl.len() + 1).alias("line")), _no_rejects()

    def _text(self, source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
        """DuckDB parses quotes and sets aside lines of the wrong arity with their number."""
        with duckdb.connect() as connection:
            try:
                frame = connection.execute(
                    "SELECT * FROM read_csv(?, header = true, all_varchar = true, "
                    "store_rejects = true, sample_size = 20480)",
                    [str(source)],
                ).to_arrow_table()
                broken = connection.execute(
                    "SELECT line::BIGINT AS line, first(csv_line) AS text, "
                    "'wrong number of fields' AS reason FROM reject_errors GROUP BY line"
                ).to_arrow_table()
            except duckdb.Error as error:
                raise DataError(
                    f"{source}: cannot be parsed as a table ({str(error).splitlines()[0]})"
                ) from error
        frame, broken = _polars(frame), _polars(broken)
        numbered = frame.with_columns(pl.int_range(2, pl.len() + 2).alias("line"))
        return numbered, broken


def _polars(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame), "a table of several columns is a frame"
    return frame


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema={"line": pl.Int64, "text": pl.String, "reason": pl.String})
