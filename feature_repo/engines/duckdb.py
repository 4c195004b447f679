"""DuckDB in this process: no server, spills to disk beyond its memory limit.

Times with a zone become plain UTC times as they are read: what DuckDB does with zones depends on
an extension that may be there or not, and on the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo.view import DAY


class DuckDBEngine:
    """See `Engine`.

    Args:
        memory_limit: as DuckDB writes it, such as "2GB".
        threads: None takes all cores.
    """

    def __init__(self, memory_limit: str, threads: int | None = None) -> None:
        settings = {"memory_limit": memory_limit}
        if threads:
            settings["threads"] = str(threads)
        self._connection = ibis.duckdb.connect(**settings)

    def read(self, files: Sequence[Path]) -> Table:
        table = self._connection.read_parquet(
            [str(f) for f in files], hive_partitioning=False, union_by_name=True
        )
        return _plain_utc(table)

    def arrow(self, table: pa.Table) -> Table:
        return _plain_utc(ibis.memtable(table))

    def write(self, table: Table, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection.to_parquet(table, folder, partition_by=(DAY,), overwrite_or_ignore=True)


@ibis.udf.scalar.builtin(signature=((dt.Timestamp("UTC"),), dt.int64))
def epoch_us(moment):  # type: ignore[no-untyped-def]
    """DuckDB's own: microseconds since 1970."""


@ibis.udf.scalar.builtin(signature=((dt.int64,), dt.Timestamp()))
def make_timestamp(microseconds):  # type: ignore[no-untyped-def]
    """DuckDB's own: a time without a zone."""


def _plain_utc(table: Table) -> Table:
    zoned = [n for n, t in table.schema().items() if t.is_timestamp() and t.timezone]
    return table.mutate(**{n: make_timestamp(epoch_us(table[n])) for n in zoned})
