"""A journal's database, met by several jobs at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pgserver
import pytest
import sqlalchemy as sa

from feature_repo.streaming.journal import Journal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop") as found:
        yield found.get_uri().replace("postgresql://", "postgresql+psycopg://")


def all_at_once(url: str, folder: Path, count: int = 8) -> list[Exception]:
    """What went wrong while so many opened a journal that was not there."""
    barrier, failures = threading.Barrier(count), []

    def start() -> None:
        barrier.wait()
        try:
            journal = Journal(url, folder, busy_s=30)
            assert journal.size() == 0
            journal.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_jobs_that_start_together_make_the_tables_once(tmp_path: Path) -> None:
    for n in range(5):
        assert all_at_once(f"sqlite:///{n}.db", tmp_path) == []


@pytest.mark.services
def test_they_do_in_postgresql_too(server: str, tmp_path: Path) -> None:
    for _ in range(3):
        assert all_at_once(server, tmp_path) == []
        engine = sa.create_engine(server)
        with engine.begin() as connection:
            for table in ("stream_events", "stream_users", "stream_landings"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
        engine.dispose()
