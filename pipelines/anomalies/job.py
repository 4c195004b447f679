"""Builds a processor from its configuration."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from pipelines.anomalies.analysis import Rules
from pipelines.anomalies.brokers.broker import Broker
from pipelines.anomalies.commits import CommitStore
from pipelines.anomalies.gauges import StoreGauges
from pipelines.anomalies.landing import LandedTable
from pipelines.anomalies.leases import Leases
from pipelines.anomalies.metrics import AnomalyMetrics
from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.processor import Pace, Processor
from pipelines.anomalies.publisher import Publisher
from pipelines.anomalies.scorers.scorer import Scorer
from pipelines.anomalies.store import connect
from pipelines.anomalies.telemetry_reader import TelemetryReader
from pipelines.anomalies.workload import Workload


def processor(
    source: Broker,
    store: str,
    busy_s: float,
    lease_s: float,
    scores: LandedTable,
    telemetry: LandedTable | None,
    reader: TelemetryReader,
    rules: Rules,
    champion: Callable[[], Path],
    scorer: Callable[[AnomalyModel], Scorer],
    pace: Pace,
    land_s: float,
    land_rows: int,
    thresholds_s: float,
    publish_most: int,
    publish_again_s: float,
    metrics_port: int | None,
    metrics_host: str,
) -> Processor:
    """The processor of this process, with a name that no other has; see the parts for arguments.

    Raises:
        AnomalyStoreError: the store cannot be reached.
    """
    engine = connect(store, busy_s)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    leases = Leases(engine, name, source.partitions, lease_s)
    commits, metrics = CommitStore(engine), AnomalyMetrics()
    workload = Workload(
        commits, leases, scores, telemetry, reader, rules, champion, scorer, metrics,
        land_s, land_rows, thresholds_s,
    )  # fmt: skip
    if metrics_port is not None:
        metrics.registry.register(StoreGauges(engine))
    publisher = Publisher(source, commits, publish_most, publish_again_s)
    return Processor(source, workload, leases, publisher, metrics, pace, metrics_port, metrics_host)
