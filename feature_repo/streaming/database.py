"""The database of a journal: SQLite in the features folder, or PostgreSQL for several machines."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_MAKING = 0x6A6F75726E616C73  # PostgreSQL: the number of the lock that who makes tables holds


def open_database(url: str, folder: Path, busy_s: float, tables: sa.MetaData) -> sa.Engine:
    """An engine on it, with its tables. Writers open connections with `writes=True`.

    Args:
        url: an SQLAlchemy URL; `sqlite:///name` without a folder lies in `folder`.
        busy_s: how long to wait for another writer of SQLite.
    """
    local = "sqlite:///"
    if url.startswith(local):
        url = f"{local}{folder / url.removeprefix(local)}"
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        _listen(engine, busy_s)
    _make(engine, tables)
    return engine


def _make(engine: sa.Engine, tables: sa.MetaData) -> None:
    """What is missing; of jobs that start together one makes all of it."""
    if tables.tables.keys() <= set(sa.inspect(engine).get_table_names()):
        return
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
        tables.create_all(connection)


def _listen(engine: sa.Engine, busy_s: float) -> None:
    """SQLite: writers take their turn at their beginning, and what is committed is on the disk."""

    @sa.event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below
        connection.execute(f"PRAGMA busy_timeout = {round(busy_s * 1000)}")
        until = time.monotonic() + busy_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # for this, SQLite itself does not wait
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= until:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous = FULL")

    @sa.event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
