"""Tables of the warehouse that processors land in: `scores`, and the `telemetry` that was scored.

Files are `date=YYYY-MM-DD/p<partition>-<first>-<last>.parquet`: what the commits of one partition
from `first` to `last` brought, by UTC date of the event. Landing again after a crash gives the same
name, or a file that contains the earlier one; a file whose commits lie within another's says
nothing new and is removed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import polars as pl

_NAME = re.compile(r"p(\d+)-(\d+)-(\d+)\.parquet")
_ROW_GROUP = 50_000  # rows, sorted by source: a reader of one source skips most of them
_COMPRESSION = 1  # of zstd: half the time of the usual 3, files a tenth larger


class LandedFile(NamedTuple):
    """One file of a table, by whose commits it holds."""

    partition: int
    first: int
    last: int
    path: Path

    def within(self, other: LandedFile) -> bool:
        return (
            self is not other
            and self.partition == other.partition
            and other.first <= self.first
            and self.last <= other.last
        )


class LandedTable:
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

    def land(self, partition: int, first: int, last: int, rows: pl.DataFrame) -> None:
        """What the commits from `first` to `last` brought: `source`, `timestamp`, and others.

        Raises:
            OSError: the disk is full; nothing is half written.
        """
        for (day,), part in rows.group_by(pl.col("timestamp").dt.date()):
            folder = self.folder / f"date={day}"
            folder.mkdir(parents=True, exist_ok=True)
            _write(part, folder / f"p{partition:03d}-{first:012d}-{last:012d}.parquet")
            self._merge(folder, partition)

    def _merge(self, folder: Path, partition: int) -> None:
        """The newest files, as long as they are small, become one."""
        files = self._tidy(folder, partition)
        if len(files) <= self._most_files:
            return
        small: list[LandedFile] = []
        for file in reversed(files):
            if file.path.stat().st_size > self._small:
                break
            small.insert(0, file)
        if len(small) > 1:
            parts = [pl.read_parquet(f.path, hive_partitioning=False) for f in small]
            name = f"p{partition:03d}-{small[0].first:012d}-{small[-1].last:012d}.parquet"
            # A later version of the model may have other fields.
            _write(pl.concat(parts, how="diagonal_relaxed"), folder / name)
            self._tidy(folder, partition)

    @staticmethod
    def _tidy(folder: Path, partition: int) -> list[LandedFile]:
        """Remove what another file holds too; returns the others, rising."""
        files = [f for f in landed(folder) if f.partition == partition]
        kept = needed(files)
        for file in set(files) - set(kept):
            file.path.unlink(missing_ok=True)
        return kept


def landed(folder: Path) -> list[LandedFile]:
    """All files of a date, rising."""
    found = []
    for path in folder.glob("p*.parquet"):
        named = _NAME.fullmatch(path.name)
        if named:
            partition, first, last = map(int, named.groups())
            found.append(LandedFile(partition, first, last, path))
    return sorted(found)


def needed(files: list[LandedFile]) -> list[LandedFile]:
    """Without those whose commits lie within another's."""
    return [f for f in files if not any(f.within(other) for other in files)]


def _write(rows: pl.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        rows.sort("source", "timestamp").write_parquet(
            temporary, row_group_size=_ROW_GROUP, compression_level=_COMPRESSION
        )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, pl.exceptions.PolarsError):
            raise OSError(f"{path} cannot be written: {error}") from error
        raise
