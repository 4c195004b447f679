"""Tables of the warehouse that processors land in: `scores`, and the `telemetry` that was scored.

Files are `date=YYYY-MM-DD/p<partition>-<first>-<last>.parquet`: what the commits of one partition
from `first` to `last` brought, by UTC date of the event. Landing again after a crash gives the same
name, or a file that contains the earlier one; a file whose commits lie within another's says
nothing new and is removed. Only what the store knows to have landed may be merged: a merged file
and one that is landed again would overlap.

All work is done by the calling thread, which holds the interpreter for little of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.anomalies.landing_rows import in_order, times_of

_DAY_US = 86_400_000_000
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

    def land(self, partition: int, first: int, last: int, rows: pa.Table) -> None:
        """What the commits from `first` to `last` brought, in order: see `landing_rows`.

        Raises:
            OSError: the disk is full; nothing is half written.
        """
        if not len(rows):
            return
        day = times_of(rows) // _DAY_US
        for one in np.unique(day):
            folder = self.folder / f"date={np.datetime64(int(one), 'D')}"
            folder.mkdir(parents=True, exist_ok=True)
            part = rows if (day == one).all() else rows.filter(pa.array(day == one))
            _write(part, folder / f"p{partition:03d}-{first:012d}-{last:012d}.parquet")
            self._tidy(folder, partition)

    def merge(self, partition: int) -> None:
        """The newest files of a date, as long as they are small, become one.

        To be called once the store knows that all of them have landed.

        Raises:
            OSError: as above.
        """
        for folder in self.folder.glob("date=*"):
            self._merge(folder, partition)

    def _merge(self, folder: Path, partition: int) -> None:
        files = self._tidy(folder, partition)
        if len(files) <= self._most_files:
            return
        small: list[LandedFile] = []
        for file in reversed(files):
            if file.path.stat().st_size > self._small:
                break
            small.insert(0, file)
        if len(small) > 1:
            parts = [_read(f.path) for f in small]
            name = f"p{partition:03d}-{small[0].first:012d}-{small[-1].last:012d}.parquet"
            # A later version of the model may have other fields.
            _write(in_order(pa.concat_tables(parts, promote_options="permissive")), folder / name)
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


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        rows = file.read(use_threads=False)
    for name in _texts(rows):
        column = rows[name].cast(pa.string()).dictionary_encode()
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def _texts(rows: pa.Table) -> list[str]:
    return [name for name in ("source", "version") if name in rows.column_names]


def _write(rows: pa.Table, path: Path) -> None:
    """There whole, also after a loss of power, or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    numbers = [f.name for f in rows.schema if pa.types.is_floating(f.type)]
    try:
        pq.write_table(
            rows,
            temporary,
            row_group_size=_ROW_GROUP,
            compression="zstd",
            compression_level=_COMPRESSION,
            use_dictionary=_texts(rows),
            # Bytes of like weight side by side: faster to compress, and smaller.
            column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
            store_schema=False,  # readers see texts, not our dictionaries
        )
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
