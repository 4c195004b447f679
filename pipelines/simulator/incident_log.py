"""The operators' log of incidents: what a company knows of them, which is not all of the truth.

Some are never noticed; the start is noted late, the end too; and the entry is written hours later,
so that the newest ones are not in the log yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_TIMES = ("start", "end", "timestamp")
_COLUMNS = {
    "incident_id": pl.String,
    "source": pl.String,
    "what": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "who": pl.String,
    "timestamp": pl.Int64,  # of the entry
}
_WHAT = {
    "spike": "latency far up for some minutes",
    "drift": "memory climbs",
    "plateau": "CPU stuck high",
    "correlated": "errors, and requests go down",
}
_PEOPLE = ("ada", "grace", "edsger")


@dataclass(frozen=True)
class IncidentLog:
    """How careful the operators are.

    Args:
        noticed: kind → share that anybody notices.
        start_late: share of an incident's length that goes by, at most, until its noted start.
        end_late_s: after an incident until its noted end, on average.
        entered_late_h: after that until the entry is in the log, on average.
    """

    noticed: Mapping[str, float]
    start_late: float
    end_late_s: float
    entered_late_h: float

    def write(self, incidents: pl.DataFrame, day: int, rng: np.random.Generator) -> pl.DataFrame:
        """Entries of one day's incidents (source, kind, start, end).

        Columns: incident_id, source, what, start, end, who, and timestamp, of the entry. Start and
        end are noted to the minute.
        """
        rows = []
        for n, (source, kind, start, end) in enumerate(
            incidents.select(
                "source", "kind", pl.col("start").dt.epoch("us"), pl.col("end").dt.epoch("us")
            ).iter_rows()
        ):
            seen = rng.random() < self.noticed[kind]
            late = rng.uniform(0, self.start_late) * (end - start)
            over = rng.exponential(self.end_late_s * 1e6)
            entered = rng.exponential(self.entered_late_h * _HOUR_US)
            who = _PEOPLE[rng.integers(len(_PEOPLE))]
            if not seen:
                continue
            noted = [int(t // _MINUTE_US) * _MINUTE_US for t in (start + late, end + over)]
            name = f"i{day:05d}-{n:03d}"
            entry = round(end + over + entered)
            rows.append((name, source, _WHAT[kind], *noted, who, entry))
        frame = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
        return frame.with_columns(pl.col(_TIMES).cast(pl.Datetime("us", "UTC")))
