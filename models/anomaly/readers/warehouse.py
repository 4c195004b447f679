"""Telemetry from the warehouse: the table that the simulator and the streams fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from models.anomaly.readers.table import TableReader
from models.anomaly.telemetry import ANOMALOUS, NORMAL, Telemetry, TelemetryError
from models.recommender.readers.files import MissingInputError


@dataclass
class WarehouseReader:
    """Read `telemetry/date=…/*.parquet`.

    Args:
        path: the warehouse folder.
        rejects: CSV file for rows that cannot be used.
        incidents: folder of Parquet files (source, start, end) that say when what was wrong: rows
            from start to before end become anomalous, all others normal. None: nobody knows.
        fields: columns to use; None: all numbers of the table.
        max_reject_share: a larger share of bad rows fails the run.
    """

    path: str | Path
    rejects: str | Path
    incidents: str | Path | None = None
    fields: Sequence[str] | None = None
    max_reject_share: float = 0.01

    def read(self) -> Telemetry:
        """Rows sorted by source and time.

        Raises:
            MissingInputError: there is no telemetry, or no incidents where they were said to be.
            TelemetryError: a column is missing.
        """
        folder = Path(self.path) / "telemetry"
        if not any(folder.glob("**/*.parquet")):
            raise MissingInputError(
                f"{folder}: no telemetry; fill the warehouse first, for example with "
                "`python scripts/simulate.py size=small`"
            )
        fields = self.fields
        if fields is None:
            schema = pl.read_parquet_schema(sorted(folder.glob("**/*.parquet"))[0])
            fields = [name for name, kind in schema.items() if kind.is_numeric()]
        telemetry = TableReader(
            folder,
            self.rejects,
            time="timestamp",
            source="source",
            fields=fields,
            max_reject_share=self.max_reject_share,
        ).read()
        return telemetry if self.incidents is None else self._labelled(telemetry)

    def _labelled(self, telemetry: Telemetry) -> Telemetry:
        folder = Path(str(self.incidents))
        files = sorted(folder.glob("*.parquet"))
        if not files:
            raise MissingInputError(f"{folder}: no Parquet files of incidents")
        incidents = pl.concat([pl.read_parquet(file) for file in files])
        absent = {"source", "start", "end"} - set(incidents.columns)
        if absent:
            raise TelemetryError(f"{folder}: no column {sorted(absent)[0]!r}")
        label = np.full(len(telemetry), NORMAL, np.int8)
        code = {name: i for i, name in enumerate(telemetry.sources)}
        bounds = np.searchsorted(telemetry.source, np.arange(len(code) + 1))
        spans = incidents.select(
            "source", pl.col("start").dt.epoch("s"), pl.col("end").dt.epoch("s")
        )
        for source, start, end in spans.iter_rows():
            if source not in code:
                continue
            first, last = bounds[code[source]], bounds[code[source] + 1]
            at = first + np.searchsorted(telemetry.time[first:last], [start, end])
            label[at[0] : at[1]] = ANOMALOUS
        return Telemetry(
            telemetry.fields,
            telemetry.values,
            telemetry.time,
            telemetry.source,
            telemetry.sources,
            label,
        )
