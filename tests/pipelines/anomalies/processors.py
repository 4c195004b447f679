"""Processors in this process, on a broker and a store of the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from models import artifact
from pipelines.anomalies import job
from pipelines.anomalies.analysis import Rules
from pipelines.anomalies.brokers.broker import Broker
from pipelines.anomalies.landing import LandedTable
from pipelines.anomalies.processor import Pace, Processor
from pipelines.anomalies.scorers.onnx import OnnxScorer
from pipelines.anomalies.severity import SeverityScale
from pipelines.anomalies.store import ANOMALIES, connect
from pipelines.anomalies.telemetry_reader import TelemetryReader
from tests.pipelines.anomalies.parts import MovingBank

SCALE = SeverityScale({"info": 0.0, "warning": 3.5, "major": 5.0, "critical": 7.0})
PARTITIONS = 4


def rules(**changed: Any) -> Rules:
    usual: dict[str, Any] = {
        "threshold": MovingBank, "severity": SCALE, "minimum_change": None, "remembered": 16,
        "late_s": 60.0,
    }  # fmt: skip
    return Rules(**usual | changed)


onnx_scorer = partial(
    OnnxScorer, threads=1, most_windows=1000, most_failures=5, providers=["CPUExecutionProvider"]
)


def processor(broker: Broker, root: Path, **changed: Any) -> Processor:
    """Quick in everything."""
    pace = {
        "most_events": 1000, "batch_s": 0.01, "wait_s": 0.1, "verdicts_s": 0.1, "model_s": 0.1,
        "publish_s": 0.05, "trim_s": 0.1, "report_s": 0.2, "backoff_s": 0.05,
        "longest_backoff_s": 0.2,
    }  # fmt: skip
    usual: dict[str, Any] = {
        "store": f"sqlite:///{root}/store.db",
        "busy_s": 10,
        "lease_s": 1.0,
        "scores": LandedTable(root / "scores", most_files=5, small_mb=16),
        "telemetry": LandedTable(root / "telemetry", most_files=5, small_mb=16),
        "reader": TelemetryReader(PARTITIONS),
        "rules": rules(),
        "champion": partial(artifact.latest, root / "artifacts", "anomaly"),
        "scorer": onnx_scorer,
        "pace": Pace(**pace | changed.pop("pace", {})),
        "land_s": 0.5,
        "land_rows": 10**6,
        "thresholds_s": 0.1,
        "publish_most": 100,
        "publish_again_s": 3600.0,
        "metrics_port": None,
        "metrics_host": "127.0.0.1",
    }
    return job.processor(broker, **usual | changed)


@contextlib.asynccontextmanager
async def running(made: Processor) -> AsyncIterator[Processor]:
    """Stopped as by SIGTERM when left; a defect of its own fails the test."""
    task = asyncio.create_task(made._run())
    try:
        yield made
    finally:
        made.stop()
        await task


async def until(true: Callable[[], object], what: str, seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


def found(root: Path) -> list[Any]:
    """All rows of the store's anomalies, in order."""
    engine = connect(f"sqlite:///{root}/store.db")
    with engine.begin() as connection:
        rows = connection.execute(sa.select(ANOMALIES).order_by(ANOMALIES.c.sequence)).all()
    engine.dispose()
    return list(rows)
