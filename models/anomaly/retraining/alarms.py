"""Alarms that nobody judged: they may be incidents, and must not be learnt as normal."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.anomaly.telemetry import Telemetry, TelemetryError

log = logging.getLogger(__name__)

_TRIES = 5
_ALARMS = pl.Schema(
    {"source": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "ratio": pl.Float64()}
)


@dataclass
class UnjudgedAlarms:
    """Finds them in the warehouse's `scores` table, which the stream processor fills.

    An event that could not be scored is one too. The threshold is that of the stream, then and for
    that source: a shift that it took for the new normal does not count.

    Args:
        scores: folder of the table; absent: nothing was scored.
        least_ratio: of score to threshold, from which an alarm is doubted; 1: every alarm.
        most_share: of the rows. Where more are doubted the stream or its data has changed as a
            whole, and only those with the highest ratios are left out, so that something is learnt.

    Raises:
        TelemetryError: a setting out of its range.
    """

    scores: str | Path
    least_ratio: float = 1.0
    most_share: float = 0.05

    def __post_init__(self) -> None:
        if not self.least_ratio >= 1:
            raise TelemetryError(f"least_ratio is {self.least_ratio}; 1 and more are accepted")
        if not 0 <= self.most_share < 1:
            raise TelemetryError(
                f"most_share is {self.most_share}; from 0 to below 1 are accepted (alarms: null "
                "learns all of them)"
            )

    def __call__(self, telemetry: Telemetry, judged: pl.DataFrame | None) -> NDArray[np.bool_]:
        """Which rows [N] are in doubt: all of a source and second with such an alarm.

        Args:
            judged: source and timestamp of events that somebody judged; None: nobody did.
        """
        doubted = np.zeros(len(telemetry), dtype=np.bool_)
        alarms = self._alarms()
        if judged is not None:
            alarms = alarms.join(judged, on=["source", "timestamp"], how="anti")
        if alarms.is_empty():
            return doubted
        worst = alarms.group_by("source", pl.col("timestamp").dt.epoch("s").alias("second")).agg(
            pl.col("ratio").max()
        )
        rows = pl.DataFrame(
            {
                "source": np.asarray(telemetry.sources)[telemetry.source],
                "second": telemetry.time,
                "row": np.arange(len(telemetry)),
            }
        )
        met = rows.join(worst, on=["source", "second"], how="inner").sort(
            "ratio", "row", descending=[True, False]
        )
        most = int(self.most_share * len(telemetry))
        if len(met) > most:
            log.warning(
                "%d of %d rows alarmed and nobody judged them; the %d highest (%g of the rows) are "
                "not learnt, the others are: judge some, or see whether the threshold fits",
                len(met),
                len(telemetry),
                most,
                self.most_share,
            )
        doubted[met["row"].to_numpy()[:most]] = True
        return doubted

    def _alarms(self) -> pl.DataFrame:
        """source, timestamp, ratio."""
        for tries in range(_TRIES):
            try:
                return self._read()
            except FileNotFoundError:
                if tries == _TRIES - 1:
                    raise
                log.info("%s: a stream has just merged files there; reading again", self.scores)
        raise AssertionError("the last try returns or raises")

    def _read(self) -> pl.DataFrame:
        # Not scored: as grave as can be. So is a score that has no ratio to its threshold.
        ratio = (
            pl.when(pl.col("threshold") > 0)
            .then(pl.col("score") / pl.col("threshold"))
            .otherwise(np.inf)
            .fill_null(np.inf)
        )
        alarmed = pl.col("score").is_null() | (pl.col("anomalous") & (ratio >= self.least_ratio))
        parts = [
            pl.scan_parquet(file, hive_partitioning=False)
            .filter(alarmed)
            .select("source", "timestamp", ratio.cast(pl.Float64).alias("ratio"))
            .collect()
            for file in sorted(Path(self.scores).glob("date=*/*.parquet"))
        ]
        return pl.concat([pl.DataFrame(schema=_ALARMS), *parts])
