"""One writer at a time: a row that names who may change the registry, and until when.

The holder renews its row while it works. Whoever comes second waits for a while, then is refused
with the holder's name. A holder that was killed renews nothing, so its row runs out by itself.
Times are the database server's on PostgreSQL, so that several machines' clocks need not agree; a
SQLite file is on one machine, whose clock counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from feature_repo.metadata import METADATA
from feature_repo.store import StoreError

log = logging.getLogger(__name__)

NAME = "registry"

leases = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),  # seconds since 1970
)


class LeaseHeldError(StoreError):
    """Somebody else changes the registry."""

    exit_code = 75  # EX_TEMPFAIL


@dataclass(frozen=True)
class LeaseTerms:
    """How long to hold and to wait.

    Args:
        wait_s: for another holder to finish.
        expiry_s: after its last renewal, until a holder that died counts as gone.
        poll_s: between two looks while waiting.
    """

    wait_s: float
    expiry_s: float
    poll_s: float


class Lease:
    """A lease that is held. `require()` says whether it still is."""

    def __init__(self, engine: sa.Engine, terms: LeaseTerms, owner: str) -> None:
        self.engine = engine
        self.terms = terms
        self.owner = owner
        self.token = uuid.uuid4().hex

    def require(self, connection: sa.Connection) -> None:
        """Raises `LeaseHeldError` if the lease ran out (the process was stopped, say)."""
        row = connection.execute(sa.select(leases).where(leases.c.name == NAME)).first()
        if row is None or row.token != self.token:
            holder = f"; {row.owner} holds it now" if row else ""
            raise LeaseHeldError(
                f"the lease on the registry ran out while {self.owner} worked{holder}; "
                "apply again: what is unfinished will be settled then"
            )

    def take(self) -> str | None:
        """Take the lease if it is free; otherwise say who holds it."""
        with self.engine.begin() as connection:
            now = _now(connection)
            free = sa.or_(leases.c.expires_at < now, leases.c.token == self.token)
            taken = connection.execute(
                leases.update()
                .where(leases.c.name == NAME, free)
                .values(token=self.token, owner=self.owner, expires_at=now + self.terms.expiry_s)
            )
            if taken.rowcount:
                return None
        try:
            with self.engine.begin() as connection:
                connection.execute(
                    leases.insert().values(
                        name=NAME,
                        token=self.token,
                        owner=self.owner,
                        expires_at=_now(connection) + self.terms.expiry_s,
                    )
                )
        except sa.exc.IntegrityError:
            return self._holder()
        return None

    def renew(self) -> None:
        """Push the end out, unless the lease was lost."""
        with self.engine.begin() as connection:
            connection.execute(
                leases.update()
                .where(leases.c.name == NAME, leases.c.token == self.token)
                .values(expires_at=_now(connection) + self.terms.expiry_s)
            )

    def release(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                leases.delete().where(leases.c.name == NAME, leases.c.token == self.token)
            )

    def _holder(self) -> str:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(leases.c.owner)).first()
        return str(row.owner) if row else "somebody who has just finished"


@contextlib.contextmanager
def hold(engine: sa.Engine, terms: LeaseTerms, by: str) -> Iterator[Lease]:
    """Hold the registry's lease.

    Args:
        by: who, as others will be told.

    Raises:
        LeaseHeldError: another one held it for all of `wait_s`.
    """
    lease = Lease(engine, terms, f"{by} (pid {os.getpid()} on {socket.gethostname()})")
    _wait(lease, terms)
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, done), name="lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        done.set()
        keeper.join()
        lease.release()


def _wait(lease: Lease, terms: LeaseTerms) -> None:
    deadline = time.monotonic() + terms.wait_s
    told = False
    while (holder := lease.take()) is not None:
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"the registry is being changed by {holder}; waited {terms.wait_s:.0f} s. "
                "Try again when that is done; if it died, its lease runs out "
                f"{terms.expiry_s:.0f} s after its last sign of life"
            )
        if not told:
            log.info("the registry is being changed by %s; waiting", holder)
            told = True
        time.sleep(terms.poll_s)


def _keep(lease: Lease, done: threading.Event) -> None:
    while not done.wait(lease.terms.expiry_s / 3):
        try:
            lease.renew()
        except sa.exc.OperationalError as error:  # a busy or restarting database: next time
            log.warning("the registry's lease could not be renewed: %s", error)


def _now(connection: sa.Connection) -> float:
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(
        connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    )
