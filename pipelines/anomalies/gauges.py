"""Thresholds and precision for Prometheus, read from the anomaly store when it scrapes.

Any process with the store may register the collector; one of them is enough.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

import numpy as np
import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.anomalies.precision import precision
from pipelines.anomalies.store import THRESHOLDS

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000


class StoreGauges(Collector):
    """Args:
    engine: of the store.
    days: precision is that of anomalies with an event time in the last so many days.
    quantiles: of the thresholds of all sources.
    """

    def __init__(
        self, engine: sa.Engine, days: float = 7.0, quantiles: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> None:
        self._engine = engine
        self._days = days
        self._quantiles = tuple(quantiles)

    def describe(self) -> Iterable[Metric]:
        """Names without a look at the store, so that registering needs none."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        families = self._families()
        try:
            self._fill(*families)
        except sa.exc.SQLAlchemyError as error:  # what else the process tells must still be told
            log.warning("no figures from the store: %s", str(error).splitlines()[0])
        return families

    def _fill(
        self, thresholds: GaugeMetricFamily, judged: GaugeMetricFamily, share: GaugeMetricFamily
    ) -> None:
        with self._engine.connect() as connection:
            values = np.asarray(connection.scalars(sa.select(THRESHOLDS.c.threshold)).all())
            since = round(time.time() * 1e6 - self._days * _DAY_US)
            figures = precision(connection, since=since, by=["severity"])
        if len(values):
            for q in self._quantiles:
                thresholds.add_metric([f"{q:g}"], float(np.quantile(values, q)))
        for row in figures:
            severity = str(row.group["severity"])
            for verdict in ("confirmed", "dismissed", "unjudged"):
                judged.add_metric([severity, verdict], getattr(row, verdict))
            if row.precision is not None:
                share.add_metric([severity], row.precision)

    def _families(self) -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(
                "millrace_anomaly_threshold",
                "Thresholds in force, quantiles over the sources",
                labels=["quantile"],
            ),
            GaugeMetricFamily(
                "millrace_anomaly_judged",
                "Anomalies by severity and what people said: confirmed, dismissed, unjudged",
                labels=["severity", "verdict"],
            ),
            GaugeMetricFamily(
                "millrace_anomaly_precision",
                "Confirmed among judged anomalies",
                labels=["severity"],
            ),
        ]
