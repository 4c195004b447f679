"""The scripts with `task=anomaly`: the warehouse's telemetry in, dead letters out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.anomalies.scores import read_scores
from serving.supervisor import free_port
from tests.conftest import ROOT
from tests.pipelines.anomalies.endurance import AnomalyJob, drained, engine
from tests.pipelines.anomalies.parts import detector
from tests.scripts.streams import RedisServer, wait_until

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    made = RedisServer(tmp_path / "redis")
    yield made
    made.kill()


def script(name: str, root: Path, url: str, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, f"scripts/{name}.py", "task=anomaly", f"paths.root={root}",
         f"output_dir={root / name}", f"anomalies.broker={url}", *overrides],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_day_of_telemetry_is_sent_scored_and_what_is_wrong_with_it_shown(
    tmp_path: Path, server: RedisServer
) -> None:
    detector(tmp_path / "artifacts")
    day = datetime.now(UTC) - timedelta(minutes=5)
    folder = tmp_path / "data" / "warehouse" / "telemetry" / f"date={day:%Y-%m-%d}"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "source": ["a", "b"] * 50,
            "cpu": [50.0] * 99 + [900.0],
            "memory": [50] * 100,
            "timestamp": [day + timedelta(seconds=n // 2) for n in range(100)],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    ).write_parquet(folder / "part-0.parquet")
    script("produce", tmp_path, server.url, "rate=null", "per_entry=10")
    server.client.xadd("telemetry:0", {"data": b'{"cpu": "hot"}'})
    job = AnomalyJob(tmp_path, server.url)
    wait_until(lambda: drained(tmp_path, server), "the stream", 60)
    wait_until(lambda: server.client.xlen("anomalies") >= 5, "the topic", 60)
    job.stop()
    store = engine(tmp_path)
    scores = read_scores(tmp_path / "data" / "warehouse" / "scores", store)
    store.dispose()
    assert len(scores) == 100
    assert scores.filter("anomalous")["source"].to_list() == ["a", "a", "b", "b", "b"]
    shown = script("dead_letters", tmp_path, server.url)
    assert json.loads(shown)["reason"].startswith("timestamp is missing; it must be an ISO 8601")
    assert "1 dead letters sent again" in script(
        "dead_letters", tmp_path, server.url, "replay=true"
    )


def test_without_a_broker_or_a_model_the_processor_says_so(
    tmp_path: Path, server: RedisServer
) -> None:
    port = free_port()
    job = AnomalyJob(tmp_path, f"redis://127.0.0.1:{port}/0")
    assert job.process.wait(60) == 69
    assert f"error: Redis at 127.0.0.1:{port}" in job.said()
    job = AnomalyJob(tmp_path, server.url)
    assert job.process.wait(60) == 65
    assert "no artifact; train and export one first" in job.said()
    assert "Traceback" not in job.said()
