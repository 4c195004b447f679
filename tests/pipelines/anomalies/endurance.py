"""Processors and Redis killed again and again while telemetry comes in: is all of it scored once?

`python -m tests.pipelines.anomalies.endurance 200000 60` sends so many events and kills so often.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis
import sqlalchemy as sa

from pipelines.anomalies.journal import unpack
from pipelines.anomalies.landing import landed, needed
from pipelines.anomalies.partition import partition_of, partition_stream
from pipelines.anomalies.scores import read_scores
from pipelines.anomalies.store import ANOMALIES, connect, event_id
from pipelines.anomalies.tables import JOURNAL, PARTITIONS
from tests.conftest import ROOT
from tests.pipelines.anomalies.parts import detector, telemetry
from tests.scripts.streams import RedisServer, wait_until

COUNT = 8  # partitions
QUICK = [
    "job.lease_s=2", "job.land_s=1", "job.pace.backoff_s=0.05", "job.pace.longest_backoff_s=0.5",
    "job.pace.publish_s=0.05", "job.pace.most_events=2000",
]  # fmt: skip
STAND_INS = [
    "task.threshold._target_=tests.pipelines.anomalies.parts.FixedBank",
    "task.champion._target_=models.artifact.latest",
    "task.minimum_change=null",
]


class AnomalyJob:
    """`scripts/stream.py task=anomaly` in a process of its own."""

    def __init__(self, root: Path, url: str, *overrides: str) -> None:
        self.log = root / f"job-{time.monotonic_ns()}.log"
        self.command = [
            sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
            "from scripts.stream import main; main()", "task=anomaly", f"paths.root={root}",
            f"output_dir={root / 'run'}", f"anomalies.broker={url}", *STAND_INS, *QUICK, *overrides,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """As a supervisor does; one that found no Redis at its start has ended by itself."""
        if self.process.poll() is not None:
            assert self.process.returncode == 69, self.said()
            self.start()

    def stop(self) -> None:
        self.process.terminate()
        # Also one that has just been started: without Redis, or not yet listening to signals.
        assert self.process.wait(60) in (0, 69, -signal.SIGTERM), self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def engine(root: Path) -> sa.Engine:
    return connect(f"sqlite:///{root}/data/anomalies/store.db")


def sender(server: RedisServer, events: list[dict[str, Any]], per_s: float) -> threading.Thread:
    """Sends all in a thread, in order, each until Redis has answered for it: some come twice."""
    entries: list[tuple[str, bytes]] = []
    for n in range(0, len(events), 100):
        by: dict[int, list[Any]] = {}
        for event in events[n : n + 100]:
            by.setdefault(partition_of(event["source"], COUNT), []).append(event)
        entries += [
            (partition_stream("telemetry", p), json.dumps(some).encode()) for p, some in by.items()
        ]

    def send() -> None:
        client = redis.Redis.from_url(server.url)
        began, pause = time.monotonic(), len(events) / per_s / len(entries)
        for n, (stream, payload) in enumerate(entries):
            while True:
                try:
                    client.xadd(stream, {"data": payload})
                    break
                except redis.RedisError:
                    time.sleep(0.02)
            time.sleep(max(0.0, began + n * pause - time.monotonic()))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def drained(root: Path, server: RedisServer) -> bool:
    """The store stands at each partition's last entry."""
    found = engine(root)
    with found.begin() as connection:
        positions = dict(
            connection.execute(sa.select(PARTITIONS.c.partition, PARTITIONS.c.position)).all()
        )
    found.dispose()
    for partition in range(COUNT):
        try:
            info = server.client.xinfo_stream(partition_stream("telemetry", partition))
        except redis.ResponseError:
            continue
        except redis.RedisError:
            return False
        if positions.get(partition) != info["last-generated-id"].decode():
            return False
    return True


def expected(events: list[dict[str, Any]]) -> set[str]:
    """Ids of the events that must alarm: by hand, one source after another."""
    frame = pl.DataFrame(events)
    alarms = set()
    for (source,), rows in frame.group_by("source", maintain_order=True):
        values = np.concatenate([np.zeros((2, 2)), rows.select("cpu", "memory").to_numpy()]).astype(
            np.float32
        )
        windows = np.lib.stride_tricks.sliding_window_view(values, 3, axis=0)  # [N, F, 3]
        score = np.abs(windows[:, :, -1] - windows.mean(axis=2)).sum(axis=1)
        times = rows["timestamp"].str.to_datetime(time_zone="UTC", time_unit="us").dt.epoch("us")
        alarms |= {event_id(str(source), t) for t in times.to_numpy()[score > 5.0].tolist()}
    return alarms


def written(root: Path) -> int:
    """Rows of the scores table and the journal as they lie there, nothing made unique."""
    folder = root / "data" / "warehouse" / "scores"
    files = [f for day in folder.glob("date=*") for f in needed(landed(day))]
    there = sum(pl.scan_parquet(f.path).select(pl.len()).collect().item() for f in files)
    found = engine(root)
    with found.begin() as connection:
        records = connection.scalars(sa.select(JOURNAL.c.record)).all()
    found.dispose()
    return there + sum(len(unpack(r)) for r in records)


def telemetry_differs(root: Path, events: list[dict[str, Any]]) -> int:
    """Rows of the telemetry table that are not those that were sent, or missing, or there twice."""
    files = (root / "data" / "warehouse" / "telemetry").rglob("*.parquet")
    rows = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
    moment = pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us")
    sent = pl.DataFrame(events).with_columns(moment)
    both = rows.join(sent, on=["source", "timestamp"], suffix="_sent")
    right = both.filter((pl.col("cpu") - pl.col("cpu_sent")).abs() < 1e-3)
    return abs(len(rows) - len(sent)) + len(sent) - len(right)


def endure(root: Path, count: int, kills: int, per_s: float, seed: int) -> dict[str, int]:
    """Run, kill, and count what is missing or there twice."""
    (root / "redis").mkdir(parents=True)
    server = RedisServer(root / "redis")
    detector(root / "artifacts")
    events = telemetry(count, 200, seed)
    draw = random.Random(seed)
    jobs = [AnomalyJob(root, server.url, "job.metrics_port=null") for _ in range(2)]
    done = {"processor": 0, "redis": 0}
    try:
        for job in jobs:
            wait_until(lambda job=job: "taken" in job.said(), "the processors")
        thread = sender(server, events, per_s)
        for _ in range(kills):
            time.sleep(draw.uniform(0.0, 2 * count / per_s / kills))
            if draw.random() < 1 / 3:
                server.kill()
                time.sleep(draw.uniform(0.0, 1.0))
                server.start()
                done["redis"] += 1
            else:
                job = draw.choice(jobs)
                job.kill()
                job.start()
                done["processor"] += 1
            for job in jobs:
                job.restart()
        thread.join()
        for job in jobs:
            job.restart()
        wait_until(lambda: drained(root, server), "the stream", 250)
        wanted = expected(events)
        found = engine(root)
        with found.begin() as connection:
            ids = connection.scalars(sa.select(ANOMALIES.c.id).order_by(ANOMALIES.c.sequence)).all()
        wait_until(lambda: server.client.xlen("anomalies") >= len(ids), "the topic", 60)
        for job in jobs:
            job.stop()
        told = [json.loads(f[b"data"])["id"] for _, f in server.client.xrange("anomalies")]
        scored = read_scores(root / "data" / "warehouse" / "scores", found)
        sent = {(e["source"], e["timestamp"]) for e in events}
        assert len(sent) == count
        found.dispose()
    finally:
        for job in jobs:
            job.kill()
        server.kill()
    return {
        **{f"{name}_kills": number for name, number in done.items()},
        "anomalies": len(ids),
        "events_lost": count - len(scored),
        "scores_twice": written(root) - len(scored),
        "telemetry_differs": telemetry_differs(root, events),
        "anomalies_lost": len(wanted - set(ids)),
        "anomalies_wrong": len(set(ids) - wanted),
        "anomalies_twice": len(ids) - len(set(ids)),
        "topic_differs": int(told != list(ids)),
    }


FAULTS = (
    "events_lost", "scores_twice", "anomalies_lost", "anomalies_wrong", "anomalies_twice",
    "telemetry_differs", "topic_differs",
)  # fmt: skip

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(endure(Path(name) / "root", int(sys.argv[1]), int(sys.argv[2]), 2000.0, seed=1))
