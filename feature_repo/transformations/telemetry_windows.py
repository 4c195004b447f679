"""A machine's recent minutes."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates

METRICS = ("cpu", "memory", "latency_ms", "errors", "requests")
MINUTES = (15, 60)


def telemetry_windows(telemetry: Table, dates: Dates) -> Table:
    """Warehouse telemetry → source, mean and maximum of each metric over 15 and 60 minutes.

    A window ends with the measurement itself and begins, exclusively, its length before.
    """
    second = telemetry.mutate(second=_.timestamp.epoch_seconds())
    columns = {}
    for minutes in MINUTES:
        recent = ibis.range_window(
            group_by="source", order_by="second", preceding=60 * minutes - 1, following=0
        )
        for metric in METRICS:
            value = second[metric].cast("float64")
            columns[f"{metric}_mean_{minutes}m"] = value.mean().over(recent)
            columns[f"{metric}_max_{minutes}m"] = value.max().over(recent)
    rows = second.select("source", **columns, event_timestamp=_.timestamp, day=_.timestamp.date())
    return rows.filter(_.day >= dates.first, _.day <= dates.last)
