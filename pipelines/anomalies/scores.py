"""The warehouse's `scores` table: every event's score and threshold, by UTC date of the event.

Files are `date=YYYY-MM-DD/p<partition>-<first>-<last>.parquet`: what the commits of one partition
from `first` to `last` brought. Landing again after a crash gives the same name, or a file that
contains the earlier one; a file whose commits lie within another's says nothing new and is left
out. What has not landed yet is in the store's journal, and is read from there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import sqlalchemy as sa

from pipelines.anomalies.journal import scores_of, unpack
from pipelines.anomalies.tables import JOURNAL

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "source": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    "score": pl.Float32,  # null: scoring failed
    "threshold": pl.Float64,
    "anomalous": pl.Boolean,
    "version": pl.String,
}
SCHEMA = pl.Schema(_COLUMNS)
_NAME = re.compile(r"p(\d+)-(\d+)-(\d+)\.parquet")
_ROW_GROUP = 50_000  # rows, sorted by source: a reader of one source skips most of them


class _File(NamedTuple):
    partition: int
    first: int
    last: int
    path: Path

    def within(self, other: _File) -> bool:
        return (
            self is not other
            and self.partition == other.partition
            and other.first <= self.first
            and self.last <= other.last
        )


class ScoreTable:
    """Written by the owner of a partition.

    Args:
        folder: of the table.
        most_files: small files of a partition and a date until they are merged.
        small_mb: a larger file is left as it is.
    """

    def __init__(self, folder: str | Path, most_files: int, small_mb: float) -> None:
        self.folder = Path(folder)
        self._most_files = most_files
        self._small = round(small_mb * 2**20)

    def land(self, partition: int, first: int, last: int, batches: Sequence[pa.RecordBatch]) -> int:
        """What the commits from `first` to `last` brought; returns how many rows.

        Raises:
            OSError: the disk is full; nothing is half written.
        """
        if not batches:
            return 0
        frame = _frame(batches)
        for (day,), rows in frame.group_by(pl.col("timestamp").dt.date()):
            folder = self.folder / f"date={day}"
            folder.mkdir(parents=True, exist_ok=True)
            _write(rows, folder / f"p{partition:03d}-{first:012d}-{last:012d}.parquet")
            self._merge(folder, partition)
        return len(frame)

    def _merge(self, folder: Path, partition: int) -> None:
        """The newest files, as long as they are small, become one."""
        files = [f for f in _files(folder) if f.partition == partition]
        if len(files) <= self._most_files:
            return
        kept = _needed(files)
        small: list[_File] = []
        for file in sorted(kept, reverse=True):
            if file.path.stat().st_size > self._small:
                break
            small.insert(0, file)
        if len(small) > 1:
            rows = pl.concat([pl.read_parquet(f.path, hive_partitioning=False) for f in small])
            name = f"p{partition:03d}-{small[0].first:012d}-{small[-1].last:012d}.parquet"
            _write(rows, folder / name)
        for file in _within(_files(folder)):
            if file.partition == partition:
                file.path.unlink(missing_ok=True)


def read_scores(
    folder: str | Path,
    engine: sa.Engine | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    source: str | None = None,
) -> pl.DataFrame:
    """Scores sorted by source and time; see `SCHEMA`.

    Args:
        folder: of the table.
        engine: the anomaly store, where the last seconds are; None: landed ones only.
        since, until: with a zone; the former included, the latter not.
        source: None: all of them.
    """
    wanted = pl.lit(True)
    if since is not None:
        wanted &= pl.col("timestamp") >= since
    if until is not None:
        wanted &= pl.col("timestamp") < until
    if source is not None:
        wanted &= pl.col("source") == source
    # The journal first: what lands between the two looks is seen twice rather than not at all.
    parts = [_frame(_journal(engine)).filter(wanted)] if engine is not None else []
    for _ in range(5):
        try:
            parts += [
                pl.scan_parquet(f.path, hive_partitioning=False).filter(wanted).collect()
                for day in _days(Path(folder), since, until)
                for f in _needed(_files(day))
            ]
            break
        except FileNotFoundError:  # merged meanwhile
            parts = parts[: engine is not None]
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *parts])
    return found.unique(["source", "timestamp"], keep="first").sort("source", "timestamp")


def _journal(engine: sa.Engine) -> Iterable[pa.RecordBatch]:
    with engine.begin() as connection:
        records = connection.scalars(sa.select(JOURNAL.c.record)).all()
    return [scores_of(unpack(record)) for record in records]


def _frame(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    frames = [pl.DataFrame(pa.Table.from_batches([b])) for b in batches if len(b)]
    texts = [pl.col("source", "version").cast(pl.String)]
    parts = [f.with_columns(texts).cast(SCHEMA) for f in frames]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts]).select(*SCHEMA)


def _write(rows: pl.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}")
    try:
        rows.sort("source", "timestamp").write_parquet(temporary, row_group_size=_ROW_GROUP)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, pl.exceptions.PolarsError):
            raise OSError(f"{path} cannot be written: {error}") from error
        raise


def _files(folder: Path) -> list[_File]:
    found = []
    for path in folder.glob("p*.parquet"):
        named = _NAME.fullmatch(path.name)
        if named:
            partition, first, last = map(int, named.groups())
            found.append(_File(partition, first, last, path))
    return sorted(found)


def _needed(files: list[_File]) -> list[_File]:
    return [f for f in files if not any(f.within(other) for other in files)]


def _within(files: list[_File]) -> list[_File]:
    return [f for f in files if any(f.within(other) for other in files)]


def _days(folder: Path, since: datetime | None, until: datetime | None) -> list[Path]:
    first = (since.astimezone(UTC).date()) if since is not None else date.min
    # `until` is not included, but its date may have begun.
    last = (until.astimezone(UTC) - timedelta(microseconds=1)).date() if until else date.max
    found = []
    for path in sorted(folder.glob("date=*")):
        if first <= date.fromisoformat(path.name.removeprefix("date=")) <= last:
            found.append(path)
    return found
