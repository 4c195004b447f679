"""Telemetry from the warehouse: the table that the simulator and the streams fill."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.anomaly.readers.incidents import labelled
from models.anomaly.readers.table import TableReader
from models.anomaly.telemetry import NORMAL, UNKNOWN, Telemetry
from models.recommender.interactions import DataError
from models.recommender.readers.files import MissingInputError

log = logging.getLogger(__name__)

AUTO = "auto"
_TRIES = 5


@dataclass
class WarehouseReader:
    """Read `telemetry/date=…/*.parquet`; of several rows of a source and moment one counts.

    Args:
        path: the warehouse folder.
        rejects: CSV file for rows that cannot be used.
        incidents: folder of Parquet files (source, start, end) that say when what was wrong: rows
            from start to before end become anomalous. "auto": the warehouse's
            own `incidents`, if it is there. None: nobody knows.
        others_normal: whether what no incident covers counts as known to be normal, rather than as
            unknown: a log says what was wrong, but nobody looked at all the rest.
        fields: columns to use; None: all numbers of the table.
        max_reject_share: a larger share of bad rows fails the run.
    """

    path: str | Path
    rejects: str | Path
    incidents: str | Path | None = None
    others_normal: bool = True
    fields: Sequence[str] | None = None
    max_reject_share: float = 0.01

    def read(self) -> Telemetry:
        """Rows sorted by source and time.

        Raises:
            MissingInputError: there is no telemetry, or no incidents where they were said to be.
            TelemetryError: a column is missing.
        """
        telemetry = self._telemetry()
        folder = self._incidents()
        if folder is None:
            return telemetry
        return labelled(telemetry, folder, NORMAL if self.others_normal else UNKNOWN)

    def _telemetry(self) -> Telemetry:
        folder = Path(self.path) / "telemetry"
        for tries in range(_TRIES):
            if not any(folder.glob("**/*.parquet")):
                raise MissingInputError(
                    f"{folder}: no telemetry; fill the warehouse first, for example with "
                    "`python scripts/simulate.py size=small`"
                )
            try:
                return self._reader(folder).read()
            except (DataError, FileNotFoundError) as error:
                gone = isinstance(error.__cause__ or error, FileNotFoundError)
                if not gone or tries == _TRIES - 1:
                    raise
                log.info("%s: a stream has just merged files there; reading again", folder)
        raise AssertionError("the last try returns or raises")

    def _reader(self, folder: Path) -> TableReader:
        fields = self.fields
        if fields is None:
            schemas = map(pl.read_parquet_schema, sorted(folder.glob("**/*.parquet")))
            numbers = (n for schema in schemas for n, kind in schema.items() if kind.is_numeric())
            fields = list(dict.fromkeys(numbers))
        return TableReader(
            folder,
            self.rejects,
            time="timestamp",
            source="source",
            fields=fields,
            max_reject_share=self.max_reject_share,
            gaps=True,
            once=True,
        )

    def _incidents(self) -> Path | None:
        if self.incidents != AUTO:
            return None if self.incidents is None else Path(self.incidents)
        folder = Path(self.path) / "incidents"
        if any(folder.glob("**/*.parquet")):
            return folder
        log.info("%s: no log of incidents; all telemetry counts as normal", folder)
        return None
