"""Stream jobs in processes of their own, killed, and brokers killed under them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from feature_repo.views import USER_HISTORY
from serving.supervisor import free_port
from tests.conftest import ROOT
from tests.feature_repo.streaming import market
from tests.scripts.streams import Job, RedisServer, entries, wait_until

USERS = [f"u{n}" for n in range(300)]
BEFORE = 3000
QUICK = ["stream.broker.claim_after_s=3", "task.handler.land_s=1", "task.handler.flush_s=1"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    found = RedisServer(folder)
    yield found
    found.kill()


def begin(root: Path, streamed: list[market.Row]) -> Path:
    """A store that has seen what was before the stream; and one that has seen all of it."""
    before = market.events(BEFORE, 250, range(-3, 1), seed=1)
    market.write_warehouse(root / "data" / "warehouse", before)
    market.materialize(root)
    truth = root / "truth"
    market.write_warehouse(truth / "data" / "warehouse", before + streamed)
    market.materialize(truth)
    return truth


def expect_all(root: Path, truth: Path, streamed: list[market.Row]) -> None:
    market.expect_equal(root, truth, USERS)
    assert sorted(market.landed(root)) == sorted(r["message_id"] for r in streamed)


@pytest.mark.slow
@pytest.mark.services
def test_a_processor_killed_again_and_again_counts_every_event_once(
    tmp_path: Path, server: RedisServer
) -> None:
    streamed = market.events(20_000, 300, (-1, 0, 0, 0), seed=2, first=10_000)
    truth = begin(tmp_path, streamed)
    sent = entries(streamed, 3)
    draw = random.Random(4)
    job = Job(tmp_path, f"stream.broker.url={server.url}", "job.most_entries=100", *QUICK)
    size = len(sent) // 5
    for n in range(5):
        server.send(sent[n * size : (n + 1) * size])
        wait_until(lambda: "started" in job.said().split("\n-- killed --\n")[-1], "the job")
        time.sleep(draw.uniform(0.2, 2.5))
        job.kill()
        with job.log.open("a") as log:
            log.write("\n-- killed --\n")
        job.start()
    server.send(sent[5 * size :])
    wait_until(server.drained, "the stream")
    job.stop()
    expect_all(tmp_path, truth, streamed)
    market.materialize(tmp_path)
    market.expect_equal(tmp_path, truth, USERS)


@pytest.mark.slow
@pytest.mark.services
def test_a_killed_redis_comes_back_and_nothing_is_lost(tmp_path: Path, server: RedisServer) -> None:
    streamed = market.events(6_000, 300, (-1, 0, 0), seed=5, first=10_000)
    truth = begin(tmp_path, streamed)
    sent = entries(streamed, 6)
    job = Job(tmp_path, f"stream.broker.url={server.url}", "job.most_entries=20", *QUICK)
    for n in range(3):
        server.send(sent[n::3])
        wait_until(lambda: "started" in job.said(), "the job")
        time.sleep(0.5)
        server.kill()
        time.sleep(0.5)
        server.start()
    wait_until(server.drained, "the stream")
    said = job.stop()
    assert f"Redis at 127.0.0.1:{server.port}" in said, "the outage is in the log"
    expect_all(tmp_path, truth, streamed)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("journal", ["sqlite", "postgres"])
def test_two_processors_share_the_work_and_agree(
    tmp_path: Path, server: RedisServer, journal: str, request: pytest.FixtureRequest
) -> None:
    """Few users, so that both have the same ones in hand all the time."""
    streamed = market.events(8_000, 20, (-1, 0, 0), seed=7, first=10_000)
    truth = begin(tmp_path, streamed)
    overrides = [f"stream.broker.url={server.url}", "job.most_entries=10", *QUICK]
    if journal == "postgres":
        overrides.append(f"task.handler.journal='{request.getfixturevalue('postgres')}'")
    jobs = [Job(tmp_path, *overrides) for _ in range(2)]
    for job in jobs:
        wait_until(lambda job=job: "started" in job.said(), "the job")
    server.send(entries(streamed, 8))
    wait_until(server.drained, "the stream")
    stopped = [job.stop() for job in jobs]
    assert all("stopped after 0 messages" not in said for said in stopped)
    expect_all(tmp_path, truth, streamed)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pgserver = pytest.importorskip("pgserver")
    with pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop") as found:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://")


@pytest.mark.services
def test_events_come_online_and_bad_ones_are_dead_letters_that_can_be_replayed(
    tmp_path: Path, server: RedisServer
) -> None:
    begin(tmp_path, [])
    port = free_port()
    broker = f"stream.broker.url={server.url}"
    job = Job(tmp_path, broker, f"job.metrics_port={port}", "job.report_s=0.2", *QUICK)
    now = market.midnight()
    good = market.event(1, "zoe", "lamp", now)
    text = json.loads(entries([good], 1)[0])
    naive = {**text, "messageId": "m2", "timestamp": "2026-01-31T12:00:00"}
    server.send([json.dumps(text).encode(), json.dumps(naive).encode(), b"no json \xff"])
    wait_until(lambda: market.online(tmp_path, ["zoe"])["item_ids"] == [["lamp"]], "zoe")
    wait_until(server.drained, "the stream")
    shown = script("dead_letters", tmp_path, broker)
    reasons = [json.loads(line)["reason"] for line in shown.splitlines()]
    assert any("timestamp is '2026-01-31T12:00:00', without a zone" in r for r in reasons)
    assert any("the entry is no JSON" in r for r in reasons)
    wait_until(lambda: 'name="dead_letters"} 2.0' in scraped(port), "the metrics")
    assert 'millrace_stream_messages_total{result="handled"} 1.0' in scraped(port)
    # The job is told to take a time without a zone? No: the sender mends it. Replay what is there.
    assert "2 dead letters sent again" in script("dead_letters", tmp_path, broker, "replay=true")
    wait_until(lambda: server.client.xlen("events:dead") == 2, "refused again")
    job.stop()
    assert market.newest(tmp_path, USER_HISTORY).filter(pl.col("user_id") == "zoe").height == 1


def script(name: str, root: Path, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, f"scripts/{name}.py", *market.settings(root),
         f"output_dir={root / name}", *overrides],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


@pytest.mark.services
def test_a_day_of_the_warehouse_is_sent_again_and_changes_nothing(
    tmp_path: Path, server: RedisServer
) -> None:
    """All its events are there already, and counted."""
    truth = begin(tmp_path, [])
    broker = f"stream.broker.url={server.url}"
    script("produce", tmp_path, broker, "rate=null", "per_entry=7")
    job = Job(tmp_path, broker, *QUICK)
    wait_until(server.drained, "the stream")
    job.stop()
    market.expect_equal(tmp_path, truth, USERS)


def test_without_a_broker_or_a_store_a_job_says_so(tmp_path: Path, server: RedisServer) -> None:
    port = free_port()
    job = Job(tmp_path, f"stream.broker.url=redis://127.0.0.1:{port}/0")
    assert job.process.wait(60) == 69
    assert f"error: Redis at 127.0.0.1:{port}" in job.said()
    job = Job(tmp_path, f"stream.broker.url={server.url}")
    assert job.process.wait(60) == 66
    assert "make the store with `python scripts/materialize.py`" in job.said()
    assert "Traceback" not in job.said()
