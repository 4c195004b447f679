"""Two processors with a PostgreSQL store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.anomalies.brokers.redis import RedisBroker
from pipelines.anomalies.scores import read_scores
from pipelines.anomalies.store import ANOMALIES, connect
from tests.pipelines.anomalies.parts import detector, telemetry
from tests.pipelines.anomalies.processors import PARTITIONS, processor, running, until
from tests.scripts.streams import RedisServer


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    pgserver = pytest.importorskip("pgserver")
    with pgserver.get_server(tmp_path / "pg", cleanup_mode="stop") as found:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    made = RedisServer(tmp_path / "redis")
    yield made
    made.kill()


@pytest.mark.slow
@pytest.mark.services
async def test_two_processors_share_a_postgresql_store(
    tmp_path: Path, server: RedisServer, postgres: str
) -> None:
    detector(tmp_path / "artifacts")
    events = telemetry(1000, 20)

    def broker() -> RedisBroker:
        return RedisBroker(server.url, "telemetry", PARTITIONS, "found", 10**6, 10**4, 10**5, 5)

    sender = broker()
    one, two = (processor(broker(), tmp_path, store=postgres) for _ in range(2))
    async with running(one), running(two):
        await until(lambda: len(one.workload.held) == len(two.workload.held) == 2, "sharing")
        for n in range(0, 1000, 20):
            await sender.send([json.dumps(events[n : n + 20]).encode()])
        await until(lambda: one._handled + two._handled == 1000, "all events")
        engine = connect(postgres)
        with engine.begin() as connection:
            ids = connection.scalars(sa.select(ANOMALIES.c.id).order_by(ANOMALIES.c.sequence)).all()
        while (await sender.published() or 0) < len(ids):
            await until(lambda: True, "the topic")
    scores = read_scores(tmp_path / "scores", engine)
    assert len(scores) == 1000
    assert scores["anomalous"].sum() == len(ids) == server.client.xlen("found")
    engine.dispose()
    await sender.close()
