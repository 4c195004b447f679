"""Telemetry from any CSV, TSV or Parquet table, by the names of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from models.anomaly.readers.checks import checked, telemetry
from models.anomaly.telemetry import Telemetry, TelemetryError
from models.recommender.readers.checks import TIME_UNITS, TimeUnit
from models.recommender.readers.tables import Table, read_tables
from models.recommender.rejects import Rejects

# Columns of the reader's own, while it reads.
_OWN = (
    "timestamp", "source", "label", "file", "line", "text", "reason", "time", "machine",
)  # fmt: skip


@dataclass
class TableReader:
    """Read numbers by time from a table with its own column names.

    Args:
        path: a `.csv`, `.tsv` (also `.gz`) or `.parquet` file, or a folder of such files.
        rejects: CSV file for rows that cannot be used (source, line, reason, text).
        time: column of the time; None: the order of the rows.
        source: column that names the machine, sensor or account; None: there is one source.
        label: column that says what was anomalous; None: nobody knows.
        fields: columns of numbers; None: every other column.
        labels: `normal` and `anomalous` → the texts in the label column that say so.
        time_unit: s, ms, us for numbers; iso for text; real Parquet timestamps need none.
        max_reject_share: a larger share of bad rows fails the run.
        gaps: a file may lack one of `fields`: its rows miss it.
        once: of several rows of a source and moment the last one counts.
    """

    path: str | Path
    rejects: str | Path
    time: str | None = "timestamp"
    source: str | None = None
    label: str | None = None
    fields: Sequence[str] | None = None
    labels: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"normal": ["0", "false"], "anomalous": ["1", "true"]}
    )
    time_unit: TimeUnit = "iso"
    max_reject_share: float = 0.01
    gaps: bool = False
    once: bool = False

    def read(self) -> Telemetry:
        """Rows of all files, sorted by source and time.

        Raises:
            MissingInputError: no such file.
            DataError: a file cannot be parsed, or too many rows are bad.
            TelemetryError: a column that the table lacks, no fields, or one with a name of ours.
        """
        if self.time_unit not in TIME_UNITS:
            raise TelemetryError(
                f"time_unit is {self.time_unit!r}; {', '.join(TIME_UNITS)} are accepted"
            )
        tables = read_tables(self.path)
        fields = self._fields(tables[0])
        rows = pl.concat([self._rows(t, fields) for t in tables], how="vertical_relaxed")
        unit: TimeUnit | None = self.time_unit if self.time else None
        if self.time and rows["timestamp"].dtype.is_temporal():
            unit = "us"
            rows = rows.with_columns(pl.col("timestamp").dt.epoch("us"))
        good = checked(rows, fields, unit, self.labels if self.label else None)
        if good["reason"].null_count() < len(good) or any(len(t.broken) for t in tables):
            good = good.with_columns(pl.concat([t.lines() for t in tables]).alias("line"))
        # `Rejects` knows a row's file as `source`; ours is a column of the data.
        renamed = good.rename({"source": "machine", "file": "source"})
        every = pl.concat([renamed, *(t.broken for t in tables)], how="diagonal_relaxed")
        kept = Rejects(Path(self.rejects), self.max_reject_share).set_aside(every, Path(self.path))
        if self.once:
            kept = kept.unique(["machine", "time"], keep="last", maintain_order=True)
        return telemetry(kept.rename({"machine": "source"}), fields)

    def _fields(self, table: Table) -> list[str]:
        named = {"time": self.time, "source": self.source, "label": self.label}
        columns = table.frame.columns
        for key, column in named.items():
            if column is not None and column not in columns:
                raise TelemetryError(
                    f"{table.path}: no column {column!r} (data.reader.{key}); it has {columns}"
                )
        fields = list(self.fields or [c for c in columns if c not in named.values()])
        taken = [name for name in fields if name in _OWN]
        if taken:
            known = {"timestamp": "time"}.get(taken[0], taken[0])
            said = f"say what it is with data.reader.{known}={taken[0]}, " if known in named else ""
            raise TelemetryError(
                f"{table.path}: a field cannot be called {taken[0]!r}; {said}rename the column, or "
                "name the columns of numbers in data.reader.fields"
            )
        absent = [name for name in fields if name not in columns and not self.gaps]
        if absent or not fields:
            raise TelemetryError(
                f"{table.path}: no column {absent[0]!r}; it has {columns}"
                if absent
                else f"{table.path}: no columns of numbers beside {columns}"
            )
        return fields

    def _rows(self, table: Table, fields: list[str]) -> pl.DataFrame:
        raw = table.frame
        if self.gaps:
            lacking = [name for name in fields if name not in raw.columns]
            raw = raw.with_columns(pl.lit(None, pl.Float64).alias(name) for name in lacking)
        named = {"timestamp": self.time, "source": self.source, "label": self.label}
        used = [*(c for c in named.values() if c), *fields]
        absent = [name for name in used if name not in raw.columns]
        if absent:
            raise TelemetryError(f"{table.path}: no column {absent[0]!r}; it has {raw.columns}")
        return raw.select(
            pl.lit(str(table.path)).alias("file"),
            pl.lit(None, pl.Int64).alias("line"),
            pl.concat_str(
                [pl.col(c).cast(pl.String).fill_null("") for c in used], separator=","
            ).alias("text"),
            *(pl.col(theirs).alias(ours) for ours, theirs in named.items() if theirs),
            *fields,
        )
