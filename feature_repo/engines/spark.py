"""Spark, for tables that outgrow one machine. Needs pyspark and a system Java 17."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo.store import StoreError
from feature_repo.view import DAY


class SparkEngine:
    """See `Engine`.

    Args:
        master: as Spark writes it: `local[2]`, `spark://host:7077`, `yarn`, `k8s://…`.
        settings: further Spark settings.
    """

    def __init__(self, master: str, settings: Mapping[str, str]) -> None:
        try:
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise StoreError(
                "features/engine=spark needs pyspark, part of the project's lock: `make setup`"
            ) from error
        builder: Any = SparkSession.builder.master(master).appName("millrace")
        fixed = {
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        }
        for key, value in {**fixed, **settings}.items():
            builder = builder.config(key, value)
        self._session = builder.getOrCreate()
        self._connection = ibis.pyspark.connect(self._session)

    def read(self, files: Sequence[Path]) -> Table:
        frame = self._session.read.option("mergeSchema", "true").parquet(*map(str, files))
        return self._view(frame)

    def arrow(self, table: pa.Table) -> Table:
        return self._view(self._session.createDataFrame(table))

    def write(self, table: Table, folder: Path) -> None:
        frame = self._session.sql(ibis.to_sql(table, dialect="pyspark"))
        frame.repartition(DAY).write.partitionBy(DAY).mode("overwrite").parquet(str(folder))

    def close(self) -> None:
        """Stop the session and its Java process."""
        self._session.stop()

    def _view(self, frame: Any) -> Table:
        name = ibis.util.gen_name("source")
        frame.createOrReplaceTempView(name)
        return self._connection.table(name)
