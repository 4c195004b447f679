"""What only PostgreSQL can do to alerts: commits out of order, and two processes at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pgserver
import pytest
import sqlalchemy as sa

from pipelines.alerts.tables import MEMBERS
from pipelines.anomalies.store import ANOMALIES, METADATA, connect
from tests.pipelines.alerts.house import House, anomaly_row

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture
def postgres(url: str) -> Iterator[sa.Engine]:
    engine = connect(url)
    yield engine
    METADATA.drop_all(engine)
    engine.dispose()


def test_a_commit_behind_a_later_number_is_not_missed(postgres: sa.Engine) -> None:
    house = House(postgres)
    now = house.clock.now()
    slow = postgres.connect()
    writing = slow.begin()
    slow.execute(sa.insert(ANOMALIES).values(anomaly_row(now, "slow", "critical")))
    house.anomaly("fast")  # a later number, committed first
    turn = threading.Thread(target=house.engine.turn)
    turn.start()
    turn.join(0.5)
    writing.commit()
    slow.close()
    turn.join(30)
    assert not turn.is_alive()
    assert sorted(a["group"] for a in house.rows("alerts")) == ["fast", "slow"]


def test_a_whole_alert(postgres: sa.Engine) -> None:
    house = House(postgres)
    house.fire()
    house.commands.acknowledge(1, "ann", "on it")
    house.turn(15)
    assert house.recorder.reasons == ["fired", "resolved"]
    assert [h.split(":")[0] for h in house.history()] == [
        "opened", "fired", "delivery", "acknowledged", "resolved", "delivery",
    ]  # fmt: skip


def test_two_processes_share_the_work_and_double_none(postgres: sa.Engine) -> None:
    one, two = House(postgres, most=5), House(postgres, most=5)
    for i in range(60):
        one.anomaly(f"s{i % 6}")
    failures: list[BaseException] = []

    def work(house: House) -> None:
        try:
            while house.engine.turn().more:
                pass
            house.clock.forward(0.5)
            house.engine.turn()
            house.send()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(h,)) for h in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    with postgres.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(MEMBERS)).scalar() == 60
    keys = [x.key for h in (one, two) for x in h.recorder.letters]
    assert len(keys) == len(set(keys)) == 6
