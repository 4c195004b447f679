"""Any CSV, TSV or Parquet table, by a mapping of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.readers import checks
from models.recommender.readers.tables import Table, read_tables
from models.recommender.rejects import Rejects

_FIELDS = ("user_id", "item_id", "rating", "timestamp")


@dataclass
class TableReader:
    """Read interactions from a table with its own column names.

    Args:
        path: a `.csv`, `.tsv` (also `.gz`) or `.parquet` file, or a folder, all of whose files of
            the first such kind are read (Parquet also from folders within it).
        columns: our name → the table's; user_id and item_id are required.
        time_unit: s, ms, us for numbers; iso for text; ignored for real Parquet timestamps.
        scale: lowest and highest rating; rows with another are rejected. None: any number is right.
    """

    path: str | Path
    columns: dict[str, str | None]
    rejects: str | Path
    time_unit: checks.TimeUnit = "s"
    max_reject_share: float = 0.01
    min_rating: float | None = None
    scale: Sequence[float] | None = None

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
        tables = read_tables(self.path)
        rows = pl.concat([self._rows(t, mapping) for t in tables], how="vertical_relaxed")
        unit = self.time_unit
        if "timestamp" in rows.columns and rows["timestamp"].dtype.is_temporal():
            unit = "us"
            rows = rows.with_columns(pl.col("timestamp").dt.epoch("us"))
        checked = checks.interactions(
            rows,
            rating="rating" in mapping,
            time=unit if "timestamp" in mapping else None,
            scale=self.scale,
            time_setting="data.reader.time_unit",
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
    def _rows(table: Table, mapping: dict[str, str]) -> pl.DataFrame:
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
