"""The anomaly store: what was found, what people said of it, and where each processor stands.

One SQL database (SQLite by default, PostgreSQL where several machines share it). This module is
the contract between the stream processor, which writes anomalies, the alerts, which read them, the
gateway, which lists them and takes verdicts, and retraining, which learns from verdicts. It needs
SQLAlchemy only. Tables that one of them alone uses are defined there, on the same `METADATA`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

METADATA = sa.MetaData()
_MAKING = 0x6D696C6C72616365  # PostgreSQL: the number of the lock that who makes tables holds

SEVERITIES = ("info", "warning", "major", "critical")  # rising
ANOMALY, TO_REVIEW = "anomaly", "to_review"  # the latter: scoring failed, nobody knows
CONFIRMED, DISMISSED = "confirmed", "dismissed"

# Times are integers, microseconds since 1970 UTC: SQLite has no times, and compares numbers best.
ANOMALIES = sa.Table(
    "anomalies",
    METADATA,
    # Rises with each row; readers keep the last they saw. Rows of one transaction appear together.
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),  # of the event: see event_id
    sa.Column("source", sa.String(255), nullable=False),
    sa.Column("timestamp", sa.BigInteger, nullable=False),  # of the event
    sa.Column("detected_at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),  # ANOMALY or TO_REVIEW
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("score", sa.Float),  # null: to review
    sa.Column("threshold", sa.Float),
    # JSON: field → {"value": …, "expected": …, "contribution": …}; value null: missing
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text),  # of TO_REVIEW: what failed
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Index("anomalies_by_time", "timestamp"),
    sa.Index("anomalies_by_source", "source", "timestamp"),
    sqlite_autoincrement=True,  # a number is never given again, even if all rows are deleted
)

VERDICTS = sa.Table(
    "anomaly_verdicts",
    METADATA,
    # The newest of an anomaly counts; none is ever deleted.
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("anomaly", sa.String(64), nullable=False, index=True),
    sa.Column("verdict", sa.String(16), nullable=False),  # CONFIRMED or DISMISSED
    sa.Column("reason", sa.Text),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# The threshold in force, written by processors with each commit, for those who judge one event.
THRESHOLDS = sa.Table(
    "anomaly_thresholds",
    METADATA,
    sa.Column("source", sa.String(255), primary_key=True),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),  # that it has seen
    sa.Column("version", sa.String(64), nullable=False),  # of the model
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

# Where the threshold of a source that nobody has seen begins: by the rule of the processors that
# run this version, for those who judge one event.
STARTS = sa.Table(
    "anomaly_starting_thresholds",
    METADATA,
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)


class AnomalyStoreError(ConnectionError):
    """A store that cannot be reached or written."""

    exit_code = 69  # EX_UNAVAILABLE


def connect(url: str, busy_s: float = 30.0) -> sa.Engine:
    """An engine on the store; its tables are made if missing.

    Args:
        url: `sqlite:///path` (the folder is made) or `postgresql+psycopg://…`; a password comes
            from PGPASSWORD or ~/.pgpass.
        busy_s: SQLite only: how long to wait for another writer.

    Raises:
        AnomalyStoreError: the database cannot be reached.
    """
    parsed = sa.make_url(url)
    lite = parsed.get_backend_name() == "sqlite"
    if lite and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": busy_s} if lite else {})
    if lite:
        sa.event.listen(engine, "connect", _durable(busy_s))
    try:
        _make_tables(engine)
    except sa.exc.DBAPIError as error:
        shown = parsed.render_as_string(hide_password=True)
        raise AnomalyStoreError(
            f"the anomaly store at {shown} cannot be used ({str(error.orig).splitlines()[0]})"
        ) from error
    return engine


def _make_tables(engine: sa.Engine) -> None:
    """Those that are missing; of processes that start together one makes them all."""
    if METADATA.tables.keys() <= set(sa.inspect(engine).get_table_names()):
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        METADATA.create_all(connection)


def _durable(busy_s: float) -> Callable[[sqlite3.Connection, object], None]:
    """Readers do not wait for writers, and what is committed survives a kill of the process."""

    def prepare(connection: sqlite3.Connection, record: object) -> None:
        until = time.monotonic() + busy_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL").close()
                break
            except sqlite3.OperationalError as error:  # for this, SQLite itself does not wait
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= until:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous=NORMAL").close()

    return prepare


def in_order(connection: sa.Connection, table: sa.Table) -> None:
    """Before inserting into a table whose `sequence` readers follow: one writer at a time.

    Otherwise a reader could see 7 before another transaction commits 6, and never look back. SQLite
    has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f'LOCK TABLE "{table.name}" IN SHARE ROW EXCLUSIVE MODE'))


def event_id(source: str, timestamp_us: int) -> str:
    """The id of an event that brings no `messageId`: one source measures once at a time."""
    return hashlib.sha256(f"{source}\0{timestamp_us}".encode()).hexdigest()[:32]
