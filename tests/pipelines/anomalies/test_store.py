"""The anomaly store: processes that start together all find it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.anomalies import tables as _tables  # noqa: F401 - on the same METADATA
from pipelines.anomalies.store import METADATA, AnomalyStoreError, connect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pgserver = pytest.importorskip("pgserver")
    with pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop") as found:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://")


def all_at_once(url: str, count: int = 8) -> list[Exception]:
    """What went wrong while so many connected to a store without tables."""
    barrier, failures = threading.Barrier(count), []

    def start() -> None:
        barrier.wait()
        try:
            engine = connect(url)
            with engine.connect() as connection:
                for table in METADATA.sorted_tables:
                    connection.execute(sa.select(table).limit(1))
            engine.dispose()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_processes_that_start_together_make_the_tables_once(tmp_path: Path) -> None:
    for n in range(5):
        assert all_at_once(f"sqlite:///{tmp_path}/{n}/store.db") == []


@pytest.mark.services
def test_they_do_in_postgresql_too(server: str) -> None:
    for _ in range(3):
        assert all_at_once(server) == []
        engine = sa.create_engine(server)
        METADATA.drop_all(engine)
        engine.dispose()


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database, but something else of some length" * 9)
    with pytest.raises(AnomalyStoreError, match=r"store\.db cannot be used \(file is not a data"):
        connect(f"sqlite:///{tmp_path}/store.db")


def test_a_store_with_tables_bothers_no_writer(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/store.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connect(f"sqlite:///{tmp_path}/store.db", busy_s=0.1).dispose()
    engine.dispose()
