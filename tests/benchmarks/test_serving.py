"""Where the milliseconds of an answer go, as the benchmark reads it from the gateway's metrics."""

from __future__ import annotations

import io
from typing import Any

import pytest
from prometheus_client import generate_latest

from benchmarks import serving
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.recommendations.stages import StageMetrics


def test_stages_of_batches_and_of_answers_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = GatewayMetrics()
    stages = StageMetrics(metrics)

    def look(*_: Any) -> io.BytesIO:
        return io.BytesIO(generate_latest(metrics.registry))

    monkeypatch.setattr("urllib.request.urlopen", look)
    before = serving.stage_sums(8080)
    for _ in range(2):
        metrics.stage.labels("features").observe(0.003)
        metrics.stage.labels("inference").observe(0.004)
        for name, seconds in {
            "features": 0.5, "candidates.sequential": 0.25, "candidates.popular": 0.25,
            "filters.stock": 0.001, "filters.seen": 0.001, "reasons": 0.002,
        }.items():  # fmt: skip
            stages.seconds.labels(name).observe(seconds)
    means = serving.stage_means(before, serving.stage_sums(8080))
    assert means == pytest.approx({"features": 3, "inference": 4, "stages": 4})
