"""What runs the transformations: DuckDB in this process, or Spark on a cluster.

An engine has `read(files)` and `arrow(table)`, which give Ibis tables, and `write(table, folder)`,
which runs an expression and leaves `folder/day=YYYY-MM-DD/*.parquet`, times in microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from ibis.expr.types import Table


class Engine(Protocol):
    """Runs Ibis expressions over Parquet files."""

    def read(self, files: Sequence[Path]) -> Table: ...

    def arrow(self, table: pa.Table) -> Table: ...

    def write(self, table: Table, folder: Path) -> None: ...
