"""Processors on a real Redis and on Kafka's protocol: shared, stopped, starved, corrected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
import sqlalchemy as sa
from confluent_kafka import Consumer, Producer

from pipelines.anomalies.brokers.broker import Broker
from pipelines.anomalies.brokers.kafka import KafkaBroker
from pipelines.anomalies.brokers.redis import RedisBroker
from pipelines.anomalies.commits import CommitStore
from pipelines.anomalies.leases import Wanted
from pipelines.anomalies.partition import partition_of
from pipelines.anomalies.processor import Processor
from pipelines.anomalies.scores import read_scores
from pipelines.anomalies.store import STARTS, THRESHOLDS, VERDICTS, connect, event_id
from pipelines.streaming.source import BrokerError, DeadLetter, StreamFullError
from tests.pipelines.anomalies.parts import MovingBank, detector, telemetry
from tests.pipelines.anomalies.processors import PARTITIONS, found, processor, running, until
from tests.scripts.streams import RedisServer

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """librdkafka's own cluster: Kafka's protocol over TCP, kept by this producer."""
    producer = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1})
    servers = next(iter(producer.list_topics(timeout=10).brokers.values()))
    yield f"{servers.host}:{servers.port}"
    del producer


class Brokers:
    """Clients of one stream; each processor has its own."""

    def __init__(self, kind: str, place: str, name: str) -> None:
        self.kind, self.place, self.name = kind, place, name

    def __call__(self, **changed: Any) -> Broker:
        shared: dict[str, Any] = {
            "stream": self.name, "partitions": PARTITIONS, "topic": f"{self.name}-found",
        }  # fmt: skip
        if self.kind == "redis":
            usual = {"most_waiting": 10**6, "most_dead": 10**4, "topic_length": 10**5}
            return RedisBroker(self.place, timeout_s=5, **shared, **usual | changed)
        return KafkaBroker(self.place, group="g", timeout_s=20, replay_wait_s=3, **shared)

    def topic(self) -> list[dict[str, Any]]:
        """Every message of the topic of anomalies."""
        if self.kind == "redis":
            client = redis.Redis.from_url(self.place)
            return [json.loads(f[b"data"]) for _, f in client.xrange(f"{self.name}-found")]
        settings = {"bootstrap.servers": self.place, "group.id": "look"}
        consumer = Consumer(settings | {"auto.offset.reset": "earliest"})
        consumer.subscribe([f"{self.name}-found"])
        messages = []
        while (message := consumer.poll(5.0)) is not None:
            if message.error() is None:
                messages.append(json.loads(message.value()))
        consumer.close()
        return messages


@pytest.fixture(params=["redis", "kafka"])
def brokers(request: pytest.FixtureRequest) -> Brokers:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    if request.param == "redis":
        return Brokers("redis", request.getfixturevalue("server").url, name)
    return Brokers("kafka", request.getfixturevalue("kafka"), name)


@pytest.fixture
def redis_brokers(request: pytest.FixtureRequest, server: RedisServer) -> Brokers:
    return Brokers("redis", server.url, request.node.name)


async def send(broker: Broker, events: Sequence[Any], per_entry: int = 10) -> None:
    entries = [events[n : n + per_entry] for n in range(0, len(events), per_entry)]
    await broker.send([json.dumps(e).encode() for e in entries])


def handled(*processors: Processor) -> int:
    return sum(p._handled for p in processors)


def scores(root: Path) -> pl.DataFrame:
    engine = connect(f"sqlite:///{root}/store.db")
    return read_scores(root / "scores", engine)


def expected_alone(root: Path, events: Sequence[Any]) -> pl.DataFrame:
    """Scores and thresholds if nothing had happened: one source after another, by hand."""
    rows = []
    for source in sorted({e["source"] for e in events}):
        bank = MovingBank()
        bank.calibrate(np.linspace(0, 1, 500))
        bank.grow(1)
        past: list[list[float]] = []
        for event in (e for e in events if e["source"] == source):
            past = [*past, [event["cpu"], event["memory"]]][-3:]
            filled = [[0.0, 0.0]] * (3 - len(past)) + past
            window = np.array(filled, np.float32)
            score = np.abs(window[-1] - window.mean(axis=0)).sum()
            threshold = bank.judge(np.zeros(1, int), np.zeros(1), np.array([score]))[0]
            rows.append((source, event["timestamp"], float(score), threshold))
    frame = pl.DataFrame(rows, ["source", "timestamp", "score", "threshold"], orient="row")
    moment = pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us")
    return frame.with_columns(moment).sort("source", "timestamp")


def assert_as_alone(root: Path, events: Sequence[Any]) -> None:
    got, wanted = scores(root), expected_alone(root, events)
    assert got.select("source", "timestamp").equals(wanted.select("source", "timestamp"))
    for column in ("score", "threshold"):
        np.testing.assert_allclose(got[column], wanted[column], rtol=1e-4, atol=1e-3)


async def test_every_event_is_scored_with_those_before_it_and_told_once(
    tmp_path: Path, brokers: Brokers
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(600, 12)
    sender = brokers()
    await send(sender, events)
    async with running(processor(brokers(), tmp_path)) as made:
        await until(lambda: handled(made) == 600, "all events")
        await until(lambda: made.metrics.published._value.get() == len(found(tmp_path)), "topic")
    await sender.close()
    assert_as_alone(tmp_path, events)
    rows = found(tmp_path)
    alarms = scores(tmp_path).filter("anomalous")
    assert {(r.source, r.timestamp) for r in rows} == {
        (s, round(t.timestamp() * 1e6)) for s, t in alarms.select("source", "timestamp").iter_rows()
    }
    assert [m["id"] for m in brokers.topic()] == [r.id for r in rows]
    high = next(r for r in rows if r.fields["cpu"]["value"] > 1000)
    assert high.severity == "critical"
    assert high.fields["cpu"]["expected"] < high.fields["cpu"]["value"]
    total = sum(f["contribution"] for f in high.fields.values())
    assert total == pytest.approx(high.score, rel=1e-4)
    tables = [tmp_path / name for name in ("scores", "telemetry")]
    assert not any(p for table in tables for p in table.rglob(".*")), "no temporary files stay"
    landed = pl.concat([pl.read_parquet(p) for p in tables[1].rglob("*.parquet")])
    moment = pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us")
    sent = pl.DataFrame(events).with_columns(moment).sort("source", "timestamp")
    assert (
        landed.select("source", "timestamp", "cpu", "memory")
        .sort("source", "timestamp")
        .equals(
            sent.select(
                "source",
                "timestamp",
                *(pl.col(f).cast(pl.Float32).cast(pl.Float64) for f in ("cpu", "memory")),
            )
        )
    )


async def test_a_second_processor_shares_and_what_leaves_is_handed_over_with_its_state(
    tmp_path: Path, brokers: Brokers
) -> None:
    """First one, then two, one stopped in peace, one silent as if killed: as one alone."""
    detector(tmp_path / "artifacts")
    events = telemetry(1200, 12)
    sender = brokers()
    one, two = processor(brokers(), tmp_path), processor(brokers(), tmp_path)
    async with running(one):
        await send(sender, events[:300])
        await until(lambda: handled(one) == 300, "the first alone")
        async with running(two):
            await until(lambda: len(one.workload.held) == len(two.workload.held) == 2, "sharing")
            await send(sender, events[300:600])
            await until(lambda: handled(one, two) == 600, "both")
            assert two._handled
        await until(lambda: len(one.workload.held) == 4, "what the second had")
        await send(sender, events[600:900])
        await until(lambda: handled(one, two) == 900, "the first alone again")
        # Silent from now on, but not gone: as after SIGSTOP.
        before = dict(one.leases.held)  # partition → epoch
        asleep = asyncio.Event()
        one._lease = asleep.wait  # type: ignore[method-assign,assignment]
        one.leases.look = lambda: Wanted([], [], [])  # type: ignore[method-assign]
        three = processor(brokers(), tmp_path)
        try:
            async with running(three):
                await until(lambda: len(three.workload.held) == 4, "what the first held", 20)
                await send(sender, events[900:])
                await until(lambda: three._handled == 300, "the third", 20)
        finally:
            del one._lease, one.leases.look  # type: ignore[method-assign]
            asleep.set()
        # It wakes up, may read the same events, and must not write under its old epochs any more;
        # it may take the partitions anew at once, since the third has left.
        await until(lambda: not before.items() & one.leases.held.items(), "the first notices", 20)
    await sender.close()
    assert_as_alone(tmp_path, events)
    assert len(found(tmp_path)) == len({r.id for r in found(tmp_path)})


async def test_poison_is_kept_with_its_reason_and_can_be_replayed(
    tmp_path: Path, brokers: Brokers
) -> None:
    detector(tmp_path / "artifacts")
    (good,) = telemetry(1, 1)
    sender = brokers()
    bad = {**good, "source": "b", "memory": "12"}
    home = partition_of("b", PARTITIONS)
    await send(sender, [good, bad, "no event"], 1)
    await sender.send([b'{"cpu": '])
    async with running(processor(brokers(), tmp_path)) as made:
        await until(lambda: made.metrics.events.labels("dead")._value.get() == 3, "dead letters")
    letters = {letter.reason: letter.payload for letter in await sender.dead_letters(10)}
    assert json.loads(letters['memory is "12"; it must be a number or null']) == bad
    assert any(reason.startswith("the entry is no JSON") for reason in letters)
    # A model without the field that was wrong takes it.
    detector(tmp_path / "artifacts", "2", fields=("cpu",))
    again = brokers()
    assert await again.replay() == 3
    async with running(processor(brokers(), tmp_path)) as made:
        await until(lambda: made._handled == 1, "the replayed event")
        assert made.workload.held[home].position is not None
    assert scores(tmp_path)["source"].to_list() == ["b", "s0"]
    await sender.close()
    await again.close()


async def test_dead_letters_are_kept_once_whoever_dies_when(
    tmp_path: Path, redis_brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before they left the store, and killed once the broker had them."""
    detector(tmp_path / "artifacts")
    sender = redis_brokers()
    bad = [{**e, "memory": "12"} for e in telemetry(30, 6)]
    await send(sender, bad, 5)

    async def killed(*_: Any) -> None:
        raise BrokerError("killed here")

    def forgotten(*_: Any) -> None:
        raise OSError("killed here")

    monkeypatch.setattr(RedisBroker, "bury", killed)
    async with running(processor(redis_brokers(), tmp_path)) as made:
        await until(lambda: made.metrics.events.labels("dead")._value.get() == 30, "the commits")
        assert await sender.dead_letters(100) == []
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr(CommitStore, "letters_gone", forgotten)
        async with running(processor(redis_brokers(), tmp_path)) as made:
            failures = made.metrics.failures.labels("topic")._value
            await until(lambda: failures.get() > 0, "the first are with the broker")
    async with running(processor(redis_brokers(), tmp_path)) as made:
        await until(lambda: len(made.workload.held) == PARTITIONS, "the heir")
    letters = await sender.dead_letters(100)
    assert sorted(json.loads(one.payload)["timestamp"] for one in letters) == sorted(
        e["timestamp"] for e in bad
    )
    assert CommitStore(connect(f"sqlite:///{tmp_path}/store.db")).letters(10) == []
    await sender.close()


async def test_dead_letters_that_were_sent_twice_are_told_and_replayed_once(
    brokers: Brokers,
) -> None:
    """As by a publisher killed before it noted what it had sent, and by its heir."""
    letters = [DeadLetter("bad", json.dumps({"source": f"s{n}"}).encode()) for n in range(5)]
    texts = [letter.as_json() for letter in letters]
    sender = brokers()
    for _ in range(2):
        await sender.bury("one", texts[:3])
    await sender.bury("two", texts[3:])
    told = await sender.dead_letters(10)
    assert sorted(t.payload for t in told) == sorted(one.payload for one in letters)
    assert await sender.replay() == 5
    read: list[bytes] = []
    positions: dict[int, str | None] = dict.fromkeys(range(PARTITIONS))
    while entries := await sender.read(positions, 100, 2.0):
        read += [entry.payload for entry in entries]
        positions |= {entry.partition: entry.position for entry in entries}
    assert sorted(read) == sorted(one.payload for one in letters)
    await sender.close()


async def test_verdicts_move_the_threshold_of_their_source_once_also_after_a_restart(
    tmp_path: Path, redis_brokers: Brokers
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(40, 2, spikes=0)
    events[-2]["cpu"] = 500.0
    sender = redis_brokers()
    await send(sender, events)
    engine = connect(f"sqlite:///{tmp_path}/store.db")

    def threshold(source: str) -> float:
        query = sa.select(THRESHOLDS.c.threshold).where(THRESHOLDS.c.source == source)
        with engine.begin() as connection:
            return float(connection.scalar(query) or 0)

    async with running(processor(redis_brokers(), tmp_path)) as made:
        await until(lambda: made._handled == 40, "all events")
        (alarm,) = [r for r in found(tmp_path) if r.fields["cpu"]["value"] == 500]
        assert threshold("s0") < alarm.score
        bank, row = made.workload.analysis.bank, made.workload.analysis.sources.row
        before = float(bank.current()[row["s1"]])
        await until(lambda: threshold("s1") == before, "the threshold in the store")
        word = {"anomaly": alarm.id, "verdict": "dismissed", "who": "ann", "at": 1}
        with engine.begin() as connection:
            connection.execute(sa.insert(VERDICTS).values(word))
        await until(lambda: threshold("s0") > alarm.score, "the verdict")
        assert threshold("s1") == before
    raised = threshold("s0")
    async with running(processor(redis_brokers(), tmp_path)) as made:
        await until(lambda: len(made.workload.held) == PARTITIONS, "the partitions")
        await asyncio.sleep(0.3)
        assert made.metrics.verdicts._value.get() == 0, "not applied twice"
        row = made.workload.analysis.sources.row["s0"]
        assert made.workload.analysis.bank.current()[row] == pytest.approx(raised)
    await sender.close()


async def test_another_champion_takes_over_with_windows_and_thresholds(
    tmp_path: Path, redis_brokers: Brokers
) -> None:
    detector(tmp_path / "artifacts", "1", window=3)
    events = telemetry(200, 4)
    sender = redis_brokers()
    async with running(processor(redis_brokers(), tmp_path)) as made:
        await send(sender, events[:100])
        await until(lambda: made._handled == 100, "the first version")
        bank = made.workload.analysis.bank.current().copy()
        memory = made.workload.analysis.sources.history[:, -1].copy()
        names = list(made.workload.analysis.sources.names)
        broken = tmp_path / "artifacts" / "anomaly" / "2"
        broken.mkdir()
        (broken / "signature.json").write_text("no signature")
        failures = made.metrics.failures.labels("model")._value
        await until(lambda: failures.get() == 1, "a damaged version is refused")
        detector(tmp_path / "artifacts", "3", window=5, fields=("memory", "disk"))
        await until(lambda: made.workload.analysis.model.version == "3", "the new version")
        engine = connect(f"sqlite:///{tmp_path}/store.db")
        with engine.begin() as connection:
            told = connection.execute(sa.select(STARTS).order_by(STARTS.c.version)).all()
        assert [(r.model, r.version) for r in told] == [("anomaly", "1"), ("anomaly", "3")]
        fresh_bank = MovingBank()
        fresh_bank.calibrate(np.linspace(0, 1, 500))
        fresh_bank.grow(1)
        assert {r.threshold for r in told} == {fresh_bank.current()[0]}
        fresh = made.workload.analysis
        order = [fresh.sources.row[name] for name in names]
        np.testing.assert_array_equal(fresh.bank.current()[order], bank)
        np.testing.assert_array_equal(fresh.sources.history[order, -1, 0], memory[:, 1])
        await send(sender, events[100:])
        await until(lambda: made._handled == 200, "the second version")
    await sender.close()
    assert set(scores(tmp_path)["version"]) == {"1", "3"}


async def test_what_the_model_cannot_score_is_to_review_and_the_rest_is_scored(
    tmp_path: Path, redis_brokers: Brokers
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(60, 6, spikes=0)
    events[40]["cpu"], events[50]["cpu"] = 12345, 54321  # see `detector`
    sender = redis_brokers()
    await send(sender, events, 60)
    async with running(processor(redis_brokers(), tmp_path)) as made:
        await until(lambda: made._handled == 60, "all events")
    await sender.close()
    rows = {r.id: r for r in found(tmp_path) if r.status == "to_review"}
    assert len(rows) == 2
    named = scores(tmp_path).filter(pl.col("score").is_null())
    ids = {event_id(s, round(t.timestamp() * 1e6)) for s, t in named[:, :2].iter_rows()}
    assert set(rows) == ids
    reasons = sorted(r.reason for r in rows.values())
    assert reasons[0].startswith("scoring failed: ")
    assert reasons[1] == "the model's score is nan, not a number"
    assert not named["anomalous"].any()
    assert all(r.score is None and r.fields["cpu"]["value"] for r in rows.values())


async def test_a_burst_waits_in_the_broker_and_senders_are_told(
    tmp_path: Path, redis_brokers: Brokers
) -> None:
    """Twenty times what one batch holds; memory holds one batch."""
    detector(tmp_path / "artifacts")
    events = telemetry(4000, 8)
    sender = Brokers("redis", redis_brokers.place, "full")(most_waiting=30)
    await send(sender, events[:500], 1)
    with pytest.raises(
        StreamFullError, match=r"waiting; at most 30 and 256 MiB are accepted: send"
    ):
        await send(sender, events[500:], 1)
    large = Brokers("redis", redis_brokers.place, "large")(most_mb=0.018)
    entry = json.dumps([e for e in events if e["source"] == "s0"][:99]).encode()  # about 11 kB
    for _ in range(2):
        await large.send([entry])
    with pytest.raises(StreamFullError, match=r"has 2 entries of 0\.0 MiB waiting; .* 0\.018 MiB"):
        await large.send([entry])
    await large.close()
    roomy = redis_brokers()
    await send(roomy, events, 10)
    batches: list[int] = []
    made = processor(redis_brokers(), tmp_path, pace={"most_events": 200})
    sized = made.broker.sized

    def watched(entries: int, found: int) -> None:
        batches.append(found)
        sized(entries, found)

    made.broker.sized = watched  # type: ignore[method-assign]
    async with running(made):
        await until(lambda: len(scores(tmp_path)) == 4000, "all events")
        while (await roomy.waiting(dict.fromkeys(range(4))))["waiting_entries"]:
            await asyncio.sleep(0.05)  # until all is trimmed
    assert max(batches) <= 400
    await sender.close()
    await roomy.close()
