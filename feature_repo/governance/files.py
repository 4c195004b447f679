"""Parquet files with somebody's rows: found, counted, and written again without them.

A rewritten file is made beside the old one and renamed over it: a reader sees one or the other, a
stopped rewrite leaves the old file and a partial one that the next run removes. Everything is
written anew (pages, dictionaries, statistics), so that no part of the file keeps a value that no
row has. Memory is bound by one row group.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.governance.errors import GovernanceError

_PARTIAL = ".erasing"  # ends the name of what this module is writing


def tables(root: Path) -> Iterator[Path]:
    """Whole Parquet files below a folder; those being written have a dot or another ending."""
    for file in sorted(root.rglob("*.parquet")):
        if not any(part.startswith(".") for part in file.relative_to(root).parts):
            yield file


def clear_leftovers(root: Path, age_s: float) -> list[Path]:
    """Remove what stopped writers left below a folder; returns what is too young to be left over.

    Our own partial files go at any age: no two erasures run on one store.
    """
    young = []
    for file in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        being_written = file.suffix in (_PARTIAL, ".partial", ".newest") or (
            hidden and file.suffix == ".parquet"
        )
        if not being_written or not file.is_file():
            continue
        try:
            if file.suffix == _PARTIAL or time.time() - file.stat().st_mtime > age_s:
                file.unlink()
            else:
                young.append(file)
        except FileNotFoundError:  # its writer has just finished
            continue
    return young


def count(file: Path, columns: Sequence[str], value: str) -> int:
    """Rows in which one of these columns has this value; 0 for a file without the columns.

    Raises:
        GovernanceError: not a whole Parquet file, so nobody knows what is in it.
    """
    try:
        with pq.ParquetFile(file) as opened:
            mine = [c for c in columns if c in opened.schema_arrow.names]
            if not mine:
                return 0
            return sum(
                int(pc.sum(_has(batch, mine, value)).as_py() or 0)
                for batch in opened.iter_batches(columns=mine)
            )
    except FileNotFoundError:  # retention or a new computation was faster
        return 0
    except (OSError, pa.ArrowException) as error:
        raise GovernanceError(f"{file}: not a whole Parquet file ({error})") from error


def rewrite(file: Path, columns: Sequence[str], value: str, keep_empty: bool) -> None:
    """Write a file again without those rows.

    Args:
        keep_empty: whether a file without any rows left stays, for its columns.
    """
    partial = file.with_name(f".{file.name}{_PARTIAL}")
    left = 0
    with pq.ParquetFile(file) as opened:
        mine = [c for c in columns if c in opened.schema_arrow.names]
        codec = _codec(opened)
        with pq.ParquetWriter(partial, opened.schema_arrow, compression=codec) as writer:
            for group in range(opened.num_row_groups):
                rows = opened.read_row_group(group)
                rows = rows.filter(pc.invert(_has(rows, mine, value)))
                left += len(rows)
                writer.write_table(rows)
    if left or keep_empty:
        partial.replace(file)
    else:
        file.unlink()
        partial.unlink()


def _has(rows: pa.Table | pa.RecordBatch, columns: Sequence[str], value: str) -> pa.Array:
    found = pa.array([False] * 0, pa.bool_())
    for number, name in enumerate(columns):
        equal = pc.fill_null(pc.equal(pc.cast(rows[name], pa.string()), value), False)
        found = equal if number == 0 else pc.or_(found, equal)
    return found


def _codec(opened: pq.ParquetFile) -> str:
    """As the file's first column has it, so that it stays as small as its writer wanted."""
    metadata = opened.metadata
    if not metadata.num_row_groups or not metadata.num_columns:
        return "zstd"
    name = str(metadata.row_group(0).column(0).compression).lower()
    return "none" if name == "uncompressed" else name
