"""Gauges from the store: what is there when Prometheus asks, and no look before that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from pipelines.anomalies.gauges import StoreGauges
from pipelines.anomalies.store import THRESHOLDS, connect
from tests.pipelines.anomalies.judged import HOUR, found, judge


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = connect(f"sqlite:///{tmp_path}/store.db")
    yield engine
    engine.dispose()


def test_thresholds_and_precision(engine: sa.Engine) -> None:
    registry = CollectorRegistry()
    registry.register(StoreGauges(engine))
    assert registry.get_sample_value("millrace_anomaly_threshold", {"quantile": "0.5"}) is None
    now = round(time.time() * 1e6)
    with engine.begin() as connection:
        rows = [
            {"source": s, "threshold": t, "events": 1, "version": "1", "updated_at": now}
            for s, t in (("a", 3.0), ("b", 4.0), ("c", 9.0))
        ]
        connection.execute(THRESHOLDS.insert(), rows)
    for i, verdict in enumerate(("confirmed", "confirmed", "dismissed")):
        judge(engine, found(engine, "a", now - HOUR - i, severity="major"), verdict)
    old = found(engine, "a", now - 9 * 24 * HOUR, severity="major")
    judge(engine, old, "dismissed")
    value = registry.get_sample_value
    assert value("millrace_anomaly_threshold", {"quantile": "0.5"}) == 4.0
    judged = {"severity": "major", "verdict": "dismissed"}
    assert value("millrace_anomaly_judged", judged) == 1
    assert value("millrace_anomaly_precision", {"severity": "major"}) == pytest.approx(2 / 3)


def test_registering_needs_no_store(tmp_path: Path) -> None:
    lost = sa.create_engine(f"sqlite:///{tmp_path}/absent/store.db")
    CollectorRegistry(auto_describe=True).register(StoreGauges(lost))
