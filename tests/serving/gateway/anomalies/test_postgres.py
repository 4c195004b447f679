"""The same questions over PostgreSQL, where several machines share the anomaly store."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pgserver
import pytest
import sqlalchemy as sa
from omegaconf import DictConfig

from pipelines.anomalies.store import VERDICTS, connect
from serving.gateway.anomalies.database import AnomalyDatabase
from serving.gateway.anomalies.verdicts import keep
from serving.gateway.problems import Problem
from tests.serving.gateway.anomalies.conftest import NOW, found, insert, us
from tests.serving.gateway.conftest import running

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture
def shared(url: str) -> Iterator[sa.Engine]:
    engine = connect(url)
    yield engine
    engine.dispose()


async def test_pages_verdicts_and_precision(
    anomaly_config: DictConfig, url: str, shared: sa.Engine
) -> None:
    anomaly_config.anomalies.store.url = url
    at = [us(NOW - timedelta(seconds=n // 2)) for n in range(6)]
    insert(shared, *(found(f"p{n}", timestamp=moment) for n, moment in enumerate(at)))
    async with running(anomaly_config) as client:
        first = (await client.get("/v1/anomalies?limit=3")).json()
        rest = (await client.get(f"/v1/anomalies?cursor={first['cursor']}")).json()
        pages = [a["id"] for a in first["anomalies"] + rest["anomalies"]]
        assert pages == ["p1", "p0", "p3", "p2", "p5", "p4"]
        for name, verdict in (("p0", "confirm"), ("p1", "dismiss"), ("p1", "confirm")):
            body = {"verdict": verdict, "reason": "日本"}
            said = await client.post(f"/v1/anomalies/{name}/verdict", json=body)
            assert said.status_code == 201
        confirmed = (await client.get("/v1/anomalies?verdict=confirmed")).json()["anomalies"]
        assert [a["id"] for a in confirmed] == ["p1", "p0"]
        figures = (await client.get("/v1/anomalies/precision")).json()
        assert figures["overall"]["precision"] == 1.0
        assert figures["by"]["day"][0]["anomalies"] >= 1
        assert isinstance(client, httpx.AsyncClient)


def test_verdicts_given_at_once_do_not_contradict_one_another(url: str, shared: sa.Engine) -> None:
    insert(shared, found("raced"))
    database = AnomalyDatabase(url, 5)

    def confirm(who: int) -> str:
        given = {"anomaly": "raced", "verdict": "confirmed", "who": f"w{who}", "at": us(NOW)}
        try:
            database.run(lambda connection: keep(connection, {**given, "reason": None}))
        except Problem as problem:
            return problem.kind
        return "kept"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(confirm, range(16)))
    assert sorted(outcomes) == ["kept"] + ["same-verdict"] * 15
    with shared.connect() as connection:
        query = sa.select(sa.func.count()).where(VERDICTS.c.anomaly == "raced")
        assert connection.scalar(query) == 1
    database.close()


def test_the_gateway_starts_while_the_store_is_away(tmp_path: Path) -> None:
    database = AnomalyDatabase(f"sqlite:///{tmp_path / 'later' / 'store.db'}", 1)
    (tmp_path / "later").write_text("in the way")
    with pytest.raises(OSError, match="later"):
        database.run(lambda _: None)
    (tmp_path / "later").unlink()
    assert database.run(lambda connection: connection.scalar(sa.select(1))) == 1
    database.close()
