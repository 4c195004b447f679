"""Reviews through a real Redis into the feature store, by jobs that are killed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.streaming.review_journal import ReviewJournal
from pipelines.streaming.reviews import review_message
from tests.feature_repo.streaming import review_market as market
from tests.scripts.streams import Job, RedisServer, kafka, wait_until
from tests.serving.texts import make_classifier

QUICK = ["task=sentiment", "stream.broker.claim_after_s=2", "task.handler.give_up_s=2"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    found = RedisServer(folder)
    yield found
    found.kill()


def begin(root: Path) -> None:
    market.write_warehouse(root, market.reviews(100, range(-40, 0), seed=1))
    market.materialize(root)


def entries(rows: list[market.Row], seed: int) -> list[bytes]:
    """Shuffled, a fifth of them twice, among other events."""
    draw = random.Random(seed)
    rows = rows + draw.choices(rows, k=len(rows) // 5)
    draw.shuffle(rows)
    other = {**review_message(rows[0]), "event": "Product Viewed", "messageId": "v"}
    return [json.dumps([review_message(row), other]).encode() for row in rows]


@pytest.mark.services
def test_a_review_is_online_offline_and_in_the_warehouse_once_there_is_a_model(
    tmp_path: Path, server: RedisServer
) -> None:
    begin(tmp_path)
    before = market.online(tmp_path)
    job = Job(tmp_path, f"stream.broker.url={server.url}", *QUICK)
    (row,) = market.reviews(1, (0,), seed=2, first=1000)
    server.send(entries([{**row, "text": "good good film"}], 3))
    wait_until(lambda: "cannot handle now" in job.said(), "the job to wait for a model")
    assert not server.drained(group="sentiment")
    make_classifier(tmp_path)
    wait_until(lambda: server.drained(group="sentiment"), "the stream")
    after = market.online(tmp_path)
    place = market.ITEMS.index(row["item_id"])
    assert after["reviews_30d"][place] == before["reviews_30d"][place] + 1
    started = time.monotonic()
    (other,) = market.reviews(1, (0,), seed=3, first=1001)
    server.send(entries([{**other, "text": "bad", "item_id": "hat"}], 3))
    wait_until(lambda: market.online(tmp_path)["sentiment_7d"][3] != after["sentiment_7d"][3], "it")
    print(f"online after {time.monotonic() - started:.2f} s")
    job.stop()
    said = market.landed(tmp_path, "review_sentiment").sort("review_id")
    assert said["review_id"].to_list() == ["r001000", "r001001"]
    assert (said["sentiment"] > 0).to_list() == [True, False]
    assert set(said["sentiment_version"]) == {"20260101-000000-000"}
    pushed = list((tmp_path / "data" / "features" / "offline").rglob("push-*.parquet"))
    assert pushed
    assert "Traceback" not in job.said()


@pytest.mark.services
def test_reviews_on_kafka(tmp_path: Path) -> None:
    begin(tmp_path)
    make_classifier(tmp_path)
    streamed = market.reviews(60, (-1, 0), seed=5, first=1000)
    with kafka() as (servers, producer):
        for entry in entries(streamed, 6):
            producer.produce("events", entry)
        producer.flush(10)
        job = Job(tmp_path, "task=sentiment", "stream/broker=kafka",
                  f"stream.broker.servers='{servers}'", "task.handler.give_up_s=2")  # fmt: skip
        places = (tmp_path / "data" / "warehouse" / "review_sentiment").rglob
        wait_until(lambda: any(places("*.parquet")), "reviews to land")
        wait_until(lambda: len(market.landed(tmp_path, "review_sentiment")) == 60, "all of them")
        said = job.stop()
    assert "Traceback" not in said
    expect_all_once(tmp_path, streamed)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    pgserver = pytest.importorskip("pgserver")
    with pgserver.get_server(tmp_path / "pg", cleanup_mode="stop") as found:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://")


def expect_all_once(root: Path, streamed: list[market.Row]) -> None:
    """In the warehouse, each once; and what was pushed is what batch makes of it."""
    names = [r["review_id"] for r in streamed]
    for table in ("reviews", "review_sentiment"):
        assert sorted(market.landed(root, table)["review_id"]) == names
    said = market.landed(root, "review_sentiment")
    assert said["sentiment"].null_count() == sum(not r["text"] for r in streamed)
    pushed = market.online(root)
    market.materialize(root)
    for name, values in market.online(root).items():
        assert pushed[name] == pytest.approx(values), name
    assert sum(pushed["reviews_30d"]) >= len(streamed)


@pytest.mark.services
def test_a_postgresql_journal_counts_what_is_new(tmp_path: Path, postgres: str) -> None:
    journal = ReviewJournal(postgres, tmp_path, busy_s=5)
    told = {"sentiment": None, "reason": None, "sentiment_version": "v1"}
    rows = [{**r, **told, "scored_at": r["timestamp"]} for r in market.reviews(5, (0,), seed=1)]
    assert journal.add(rows[:3], ["lamp"]) == 3
    again = {**rows[4], "review_id": rows[0]["review_id"]}
    assert journal.add([*rows[:4], again], ["lamp", "tent"]) == 1
    journal.close()


@pytest.mark.slow
@pytest.mark.services
def test_two_jobs_share_a_postgresql_journal(
    tmp_path: Path, server: RedisServer, postgres: str
) -> None:
    """Four items, so that both have the same ones in hand all the time."""
    begin(tmp_path)
    make_classifier(tmp_path)
    streamed = market.reviews(1_000, (-1, 0), seed=7, first=1000)
    overrides = [f"stream.broker.url={server.url}", f"task.handler.journal='{postgres}'",
                 "job.most_entries=10", *QUICK]  # fmt: skip
    jobs = [Job(tmp_path, *overrides) for _ in range(2)]
    for job in jobs:
        wait_until(lambda job=job: "started" in job.said(), "the job")
    server.send(entries(streamed, 8))
    wait_until(lambda: server.drained(group="sentiment"), "the stream")
    stopped = [job.stop() for job in jobs]
    assert all("stopped after 0 messages" not in said for said in stopped)
    assert "Traceback" not in "".join(stopped)
    expect_all_once(tmp_path, streamed)


@pytest.mark.slow
@pytest.mark.services
def test_killed_again_and_again_every_review_counts_once(
    tmp_path: Path, server: RedisServer
) -> None:
    begin(tmp_path)
    make_classifier(tmp_path)
    streamed = market.reviews(2_000, (-1, 0), seed=4, first=1000)
    sent = entries(streamed, 5)
    draw = random.Random(6)
    job = Job(tmp_path, f"stream.broker.url={server.url}", "job.most_entries=20", *QUICK)
    size = len(sent) // 3
    for n in range(3):
        server.send(sent[n * size : (n + 1) * size])
        wait_until(lambda: "started" in job.said().split("-- killed --")[-1], "the job")
        time.sleep(draw.uniform(0.2, 2.0))
        job.kill()
        with job.log.open("a") as log:
            log.write("\n-- killed --\n")
        job.start()
    server.send(sent[3 * size :])
    wait_until(lambda: server.drained(group="sentiment"), "the stream")
    time.sleep(2.5)  # what a killed job has left unlanded is taken over then
    job.stop()
    expect_all_once(tmp_path, streamed)
