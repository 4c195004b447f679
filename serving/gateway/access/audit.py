"""The audit log: who asked for what, when, why, and what became of it.

Events go through a bounded queue to a thread that writes them into the table `audit_events`, so
that no request waits for the database. What does not fit into the queue, and what the database does
not take, goes to a local JSONL file and from there into the table later. Nothing is dropped
silently: what even the file does not take is counted and written to the process' log.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from feature_repo.metadata import METADATA
from serving.gateway.access.database import Database
from serving.gateway.access.spill import Spill
from serving.gateway.metrics import GatewayMetrics

log = logging.getLogger(__name__)

OUTCOMES = ("ok", "denied", "refused", "failed")

audit_events = sa.Table(
    "audit_events",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("project", sa.String(255), nullable=False),
    sa.Column("who", sa.String(255), nullable=False, index=True),
    sa.Column("action", sa.String(64), nullable=False, index=True),
    sa.Column("subject", sa.String(255)),  # a view, a service, an API key
    sa.Column("rows", sa.Integer),
    sa.Column("keys_hash", sa.String(16)),
    sa.Column("why", sa.String(1000)),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("detail", sa.String(1000)),
    sa.Column("status", sa.Integer),
    sa.Column("request_id", sa.String(128)),
    sa.Column("client", sa.String(64)),
)


class Event(NamedTuple):
    """One line of the log.

    Args:
        who: a principal's name; `anonymous` where nobody has to say.
        action: what was asked for: `push`, `read`, `recommend`, `keys.create`, …
        subject: on what: a view, a service, an API key.
        rows: how many rows or keys.
        keys_hash: of the keys, so that a key can be looked for without standing here.
        why: what the caller said in the header `X-Reason`.
        outcome: ok, denied, refused (bad input, too much at once) or failed.
        detail: of a denial, its reason.
        status: of the HTTP answer.
    """

    project: str
    who: str
    action: str
    outcome: str
    subject: str | None = None
    rows: int | None = None
    keys_hash: str | None = None
    why: str | None = None
    detail: str | None = None
    status: int | None = None
    request_id: str | None = None
    client: str | None = None


def hash_keys(keys: Iterable[object]) -> str:
    """Of a set of keys, in any order."""
    joined = "\0".join(sorted({str(key) for key in keys}))
    return hashlib.sha256(joined.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def as_row(event: Event) -> dict[str, Any]:
    """The event as a row of the table, given its id and moment; texts that are too long are cut."""
    row: dict[str, Any] = {"id": uuid.uuid4().hex, "at": datetime.now(UTC), **event._asdict()}
    for column in audit_events.c:
        length = getattr(column.type, "length", None)
        if length and isinstance(row[column.name], str):
            # PostgreSQL takes no NUL and no half characters in a text
            text = row[column.name].replace("\0", "�").encode("utf-8", "replace").decode()
            row[column.name] = text[:length]
    return row


class AuditLog:
    """Take events at once, write them behind.

    Args:
        spill: where events wait that the database does not take.
        max_queue: events waiting to be written; one more goes to the spill file.
        max_batch: events in one transaction.
        retry_s: how often spilled events are tried again.
    """

    def __init__(self, spill: Spill, max_queue: int, max_batch: int, retry_s: float) -> None:
        self.spill = spill
        self.max_batch = max_batch
        self.retry_s = retry_s
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(max_queue)
        self._thread: threading.Thread | None = None
        self._database: Database | None = None
        self.metrics: GatewayMetrics | None = None

    def open(self, database: Database, metrics: GatewayMetrics) -> None:
        """Start writing."""
        self._database, self.metrics = database, metrics
        metrics.audit_queue.set_function(self._queue.qsize)
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def append(self, event: Event) -> None:
        """Keep one event; never waits for the database, never raises."""
        row = as_row(event)
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            self._to_spill([row], "overflow")

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits; what takes longer than that goes to the spill file."""
        if self._thread is None:
            return
        with_end = False
        try:
            self._queue.put(None, timeout=timeout_s)
            with_end = True
        except queue.Full:
            log.warning("the audit queue stays full")
        if with_end:
            self._thread.join(timeout_s)
        left = self._drain()
        if left:
            self._to_spill(left, "closing")

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until all that was appended before is written or spilled."""
        waiting = threading.Thread(target=self._queue.join, daemon=True)
        waiting.start()
        waiting.join(timeout_s)

    def _work(self) -> None:
        while True:
            try:
                rows, ended = self._next()
            except queue.Empty:
                self._recover()
                continue
            if rows:
                self._write(rows)
            for _ in range(len(rows) + ended):
                self._queue.task_done()
            if ended:
                return

    def _next(self) -> tuple[list[dict[str, Any]], bool]:
        """What waits, up to a batch, and whether the end has come."""
        rows: list[dict[str, Any]] = []
        item = self._queue.get(timeout=self.retry_s)
        while item is not None:
            rows.append(item)
            if len(rows) >= self.max_batch or self._queue.empty():
                return rows, False
            item = self._queue.get_nowait()
        return rows, True

    def _write(self, rows: list[dict[str, Any]]) -> None:
        try:
            self._insert(rows)
        except Exception as error:  # whatever it is, the rows must survive it
            log.warning("audit events not written: %s", str(error).splitlines()[0])
            self._to_spill(rows, "database")
            return
        if self.metrics is not None:
            self.metrics.audit_events.labels("written").inc(len(rows))

    def _recover(self) -> None:
        """Move spilled events into the table."""
        try:
            moved = self.spill.recover(self._insert_missing)
        except Exception as error:
            log.warning("spilled audit events stay for now: %s", str(error).splitlines()[0])
            return
        if moved:
            log.info("%d spilled audit events are in the table now", moved)
            if self.metrics is not None:
                self.metrics.audit_events.labels("recovered").inc(moved)

    def _insert(self, rows: Sequence[dict[str, Any]]) -> None:
        with self._engine().begin() as connection:
            connection.execute(audit_events.insert(), list(rows))

    def _insert_missing(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows of which some may be there already: a recovery may be cut short."""
        ids = [row["id"] for row in rows]
        with self._engine().begin() as connection:
            query = sa.select(audit_events.c.id).where(audit_events.c.id.in_(ids))
            there = set(connection.execute(query).scalars())
            missing = [row for row in rows if row["id"] not in there]
            if missing:
                connection.execute(audit_events.insert(), missing)

    def _engine(self) -> sa.Engine:
        assert self._database is not None, "open() comes first"
        return self._database.engine()

    def _to_spill(self, rows: list[dict[str, Any]], reason: str) -> None:
        outcome = "spilled"
        try:
            self.spill.append(rows)
        except OSError as error:
            outcome = "lost"
            for row in rows:
                log.error("audit event lost (%s): %s", error, row)
        if self.metrics is not None:
            self.metrics.audit_events.labels(outcome).inc(len(rows))
            self.metrics.audit_spills.labels(reason).inc(len(rows))

    def _drain(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            try:
                row = self._queue.get_nowait()
            except queue.Empty:
                return rows
            if row is not None:
                rows.append(row)
