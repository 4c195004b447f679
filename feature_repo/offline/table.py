"""An offline table as the join reads it: one file or a folder of files, in pieces of bounded size.

Files may differ in the order of their columns, in the width of their numbers and in columns that
came later (null in older files).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import polars as pl

TIME = pl.Datetime("us", "UTC")
# Times as whole microseconds since 1970, and keys under the table's names.
MOMENT, CREATED = "__time", "__created"


class JoinError(ValueError):
    """An entity frame or a feature table that cannot be joined; the message says what and where."""

    exit_code = 65  # EX_DATAERR


class File(NamedTuple):
    """A Parquet file as it was when the join began."""

    path: Path
    rows: int
    schema: dict[str, pl.DataType]
    state: tuple[int, int, int]  # inode, size, time of change


class Piece(NamedTuple):
    """Consecutive rows of one file; `first` numbers them within the table."""

    file: File
    offset: int
    rows: int
    first: int


@dataclass(frozen=True)
class FeatureTable:
    """One view's offline table.

    Args:
        keys: column of the table → column of the entity frame.
        features: column of the table → column of the result.
        ttl: a value older than this is null; zero or None keeps it for ever.
        created: column that breaks ties of one moment, and says when a row had arrived.
        renames: column of the file → column of the table, as in Feast's field mapping.
    """

    name: str
    path: Path
    keys: Mapping[str, str]
    features: Mapping[str, str]
    timestamp: str
    created: str | None = None
    ttl: timedelta | None = None
    renames: Mapping[str, str] | None = None

    @cached_property
    def files(self) -> list[File]:
        """Every file of the table, in the order of their names.

        Raises:
            JoinError: there is none, or one is no whole Parquet file.
        """
        found = [self.path]
        if self.path.is_dir():  # a file being written has a dot before its name
            found = [f for f in sorted(self.path.rglob("*.parquet")) if f.name[0] != "."]
        if not found or not found[0].is_file():
            raise JoinError(f"view {self.name}: no Parquet file at {self.path}")
        return [self._open(file) for file in found]

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns that the join needs, in the types of the newest file that has them.

        Raises:
            JoinError: no file has one of them.
        """
        known: dict[str, pl.DataType] = {}
        for file in self.files:
            known |= file.schema
            known |= {self._name(c): dtype for c, dtype in file.schema.items()}
        wanted = [*self.keys, *self.features, self.timestamp]
        wanted += [self.created] if self.created else []
        absent = [c for c in wanted if c not in known]
        if absent:
            raise JoinError(
                f"view {self.name}: {self.path} has no column {', '.join(absent)}; "
                f"it has {', '.join(known)}"
            )
        return {c: known[c] for c in wanted}

    def pieces(self, rows: int) -> Iterator[list[Piece]]:
        """All rows in order, at most so many at a time; small files come together."""
        gathered: list[Piece] = []
        room, first = rows, 0
        for file in self.files:
            offset = 0
            while offset < file.rows:
                size = min(room, file.rows - offset)
                gathered.append(Piece(file, offset, size, first))
                offset, first, room = offset + size, first + size, room - size
                if room == 0:
                    yield gathered
                    gathered, room = [], rows
        if gathered:
            yield gathered

    def scan(self, columns: Iterable[str]) -> pl.LazyFrame:
        """These columns of all rows."""
        return pl.concat(
            pl.scan_parquet(file.path, hive_partitioning=False).select(
                self._column(name, file) for name in columns
            )
            for file in self.files
        )

    def read(self, pieces: Sequence[Piece], columns: Sequence[str]) -> pl.DataFrame:
        """These columns of some pieces; `MOMENT` and `CREATED` are columns too.

        Raises:
            JoinError: a file cannot be read, or another one has taken its place.
        """
        parts = []
        for piece in pieces:
            file, lazy = piece.file, pl.scan_parquet(piece.file.path, hive_partitioning=False)
            try:
                if piece.rows < file.rows:
                    lazy = lazy.slice(piece.offset, piece.rows)
                part = lazy.select(self._column(name, file) for name in columns).collect()
                same = _state(file.path) == file.state
            except (pl.exceptions.PolarsError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise JoinError(
                    f"view {self.name}: {file.path} cannot be read ({reason})"
                ) from error
            if not same:
                raise JoinError(
                    f"view {self.name}: {file.path} was replaced while it was read; ask again"
                )
            parts.append(part)
        return pl.concat(parts)

    def _open(self, path: Path) -> File:
        try:
            state = _state(path)
            lazy = pl.scan_parquet(path, hive_partitioning=False)
            schema = dict(lazy.collect_schema())
            rows: int = lazy.select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise JoinError(f"view {self.name}: {path} cannot be read ({reason})") from error
        return File(path, rows, schema, state)

    def _name(self, column: str) -> str:
        return (self.renames or {}).get(column, column)

    def _column(self, name: str, file: File) -> pl.Expr:
        if name in (MOMENT, CREATED):
            column = self.timestamp if name == MOMENT else self.created
            assert column is not None, "the table has no creation time"
            return utc(self._raw(column, file), self._type(column, file)).dt.epoch("us").alias(name)
        return self._raw(name, file).cast(self.schema[name]).alias(name)

    def _raw(self, name: str, file: File) -> pl.Expr:
        column = self._source(name, file)
        return pl.lit(None, self.schema[name]) if column is None else pl.col(column)

    def _type(self, name: str, file: File) -> pl.DataType:
        column = self._source(name, file)
        return TIME if column is None else file.schema[column]

    def _source(self, name: str, file: File) -> str | None:
        """The file's column of this name, renamed or not."""
        for column in file.schema:
            if self._name(column) == name:
                return column
        return name if name in file.schema else None


def utc(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Any time as microseconds in UTC; a time without a zone is one in UTC."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        return column.dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        return column.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    return column.cast(TIME)


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
