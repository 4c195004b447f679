"""The journal of recent events: what a stream job knows, in a database, each message once.

A user's pushed features are a function of the user's base row and the user's events in here, never
of what was pushed before. So it does not matter how often a message comes, in which order, or where
a job was killed: the same events give the same values.

SQLite by default: a writer locks the whole file. PostgreSQL locks the users of a batch only, so
that several jobs share the work.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from feature_repo.dates import EPOCH
from feature_repo.streaming.database import open_database

Row = Mapping[str, Any]

DAY_US = 86_400_000_000
_CLOCKS_US = 10_000_000  # that two machines' clocks may be apart
FROM_WAREHOUSE = "warehouse"  # stands in `landing` for events that were read from there
_TABLES = sa.MetaData()

events = sa.Table(
    "stream_events",
    _TABLES,
    sa.Column("message_id", sa.String(300), primary_key=True),
    sa.Column("type", sa.String(32)),
    sa.Column("event", sa.String(255)),
    sa.Column("user_id", sa.String(255)),
    sa.Column("anonymous_id", sa.String(255)),
    sa.Column("session_id", sa.String(255)),
    sa.Column("item_id", sa.String(255)),
    sa.Column("position", sa.BigInteger),
    sa.Column("price", sa.Float),
    sa.Column("quantity", sa.BigInteger),
    sa.Column("order_id", sa.String(255)),
    sa.Column("experiment_id", sa.String(255)),
    sa.Column("variation_id", sa.String(255)),
    sa.Column("timestamp", sa.BigInteger, nullable=False),  # microseconds since 1970
    sa.Column("received_at", sa.BigInteger),
    sa.Column("landing", sa.String(36)),  # of `landings`; null: not yet in the warehouse
    sa.Index("stream_events_of_user", "user_id", "timestamp"),
    sa.Index("stream_events_by_landing", "landing"),
)
users = sa.Table(
    "stream_users",
    _TABLES,
    sa.Column("user_id", sa.String(255), primary_key=True),
    # The base is the user's history before this day (days since 1970); all events from then on are
    # in the journal. Null: to be read again.
    sa.Column("since", sa.BigInteger),
    sa.Column("items", sa.Text, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("read_at", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),  # of what was pushed online
    sa.Column("flushed", sa.BigInteger, nullable=False),  # version that is in the offline store
    sa.Column("pushed_at", sa.BigInteger, nullable=False),
    sa.Index("stream_users_by_push", "pushed_at"),
    sa.Index("stream_users_by_base", "since"),
)
landings = sa.Table(
    "stream_landings",
    _TABLES,
    sa.Column("landing", sa.String(36), primary_key=True),
    sa.Column("begun_at", sa.BigInteger, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)
_FRESH = {
    "since": None, "items": "[]", "length": 0, "read_at": 0,
    "version": 0, "flushed": 0, "pushed_at": 0,
}  # fmt: skip


@dataclass
class User:
    """What is known of a user: the base, and what was pushed."""

    user_id: str
    since: int | None
    items: list[str]
    length: int
    version: int


class Journal:
    """See the module.

    Args:
        url: an SQLAlchemy URL; `sqlite:///name` without a folder lies in `folder`.
        busy_s: how long to wait for another writer of SQLite.
    """

    def __init__(self, url: str, folder: Path, busy_s: float) -> None:
        self._engine = open_database(url, folder, busy_s, _TABLES)

    def add(self, rows: Sequence[Row], named: Sequence[str]) -> int:
        """Keep events, each message once, and make their users known; returns how many were new."""
        with self._begin() as connection:
            new = insert(connection, events, [_stored(row, None) for row in rows])
            insert(connection, users, [{"user_id": u, **_FRESH} for u in named])
        return new

    @contextmanager
    def locked(self, named: Sequence[str]) -> Iterator[Held]:
        """Hold some users: nobody else computes or pushes their rows meanwhile."""
        with self._begin() as connection:
            query = sa.select(users).where(users.c.user_id.in_(named)).order_by(users.c.user_id)
            found = connection.execute(query.with_for_update()).all()
            yield Held(
                connection,
                {
                    r.user_id: User(r.user_id, r.since, json.loads(r.items), r.length, r.version)
                    for r in found
                },
            )

    def flushed(self, versions: Mapping[str, int]) -> None:
        """These versions of users are in the offline store."""
        if not versions:
            return
        update = (
            users.update()
            .where(
                users.c.user_id == sa.bindparam("user"), users.c.flushed < sa.bindparam("version_")
            )
            .values(flushed=sa.bindparam("version_"))
        )
        with self._begin() as connection:
            ordered = sorted(versions.items())  # so that two jobs never wait for each other
            connection.execute(update, [{"user": u, "version_": v} for u, v in ordered])

    def unflushed(self, older_than_s: float, most: int) -> list[str]:
        """Users whose last version a job has left out: it was killed, or their base has changed."""
        limit = now_us() - round(older_than_s * 1e6)
        query = (
            sa.select(users.c.user_id)
            .where(users.c.version > users.c.flushed, users.c.pushed_at < limit)
            .order_by(users.c.user_id)
            .limit(most)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def outdate(self, recomputed: Mapping[int, int]) -> int:
        """Forget bases that rest on days (since 1970) computed again at a time (microseconds).

        Returns how many users have to be pushed again. A base that was read a little after the
        computation is forgotten too: clocks of machines differ.
        """
        count = 0
        with self._begin() as connection:
            bases = connection.execute(sa.select(users.c.since).distinct()).scalars().all()
            for since in sorted(b for b in bases if b is not None):
                moments = [moment for day, moment in recomputed.items() if day < since]
                if not moments:
                    continue
                found = connection.execute(
                    users.update()
                    .where(users.c.since == since, users.c.read_at < max(moments) + _CLOCKS_US)
                    .values(since=None, version=users.c.version + 1)
                )
                count += found.rowcount
        return count

    def begin_landing(self, most: int) -> str | None:
        """Choose events that are not in the warehouse yet; None if there are none."""
        landing = str(uuid.uuid4())
        chosen = (
            sa.select(events.c.message_id)
            .where(events.c.landing.is_(None))
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        with self._begin() as connection:
            marked = connection.execute(
                events.update()
                .where(events.c.message_id.in_(chosen.scalar_subquery()))
                .values(landing=landing)
            )
            if not marked.rowcount:
                return None
            connection.execute(
                landings.insert().values(landing=landing, begun_at=now_us(), done=False)
            )
        return landing

    def unfinished_landings(self, older_than_s: float) -> list[str]:
        """Landings that a job began and did not finish."""
        limit = now_us() - round(older_than_s * 1e6)
        query = sa.select(landings.c.landing).where(~landings.c.done, landings.c.begun_at < limit)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def landing(self, landing: str) -> list[dict[str, Any]]:
        """The events of a landing as the warehouse's rows."""
        columns = [c for c in events.c if c.name != "landing"]
        query = sa.select(*columns).where(events.c.landing == landing)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def finish_landing(self, landing: str) -> None:
        with self._begin() as connection:
            connection.execute(
                landings.update().where(landings.c.landing == landing).values(done=True)
            )

    def size(self) -> int:
        """How many events it holds."""
        with self._engine.connect() as connection:
            return int(
                connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
            )

    def prune(self, keep_days: int, before: int, most_users: int) -> int:
        """Drop events that are in the warehouse and lie `keep_days` before the newest one.

        Their users' bases are read again when a next event comes. Returns how many events went.

        Args:
            before: a day (since 1970); only older events go. Offline rows must hold them.
        """
        done = sa.select(landings.c.landing).where(landings.c.done)
        with self._begin() as connection:
            newest = connection.execute(sa.select(sa.func.max(events.c.timestamp))).scalar()
            if newest is None:
                return 0
            limit = min(newest // DAY_US - keep_days, before) * DAY_US
            old = (events.c.timestamp < limit) & (
                events.c.landing.in_(done) | (events.c.landing == FROM_WAREHOUSE)
            )
            of = list(
                connection.execute(
                    sa.select(users.c.user_id)
                    .where(
                        sa.exists().where(events.c.user_id == users.c.user_id, old),
                        users.c.flushed >= users.c.version,
                    )
                    .order_by(users.c.user_id)
                    .limit(most_users)
                    .with_for_update(skip_locked=True)
                ).scalars()
            )
            gone = connection.execute(
                events.delete().where(old, events.c.user_id.in_(of) | events.c.user_id.is_(None))
            ).rowcount
            here = sa.exists().where(events.c.user_id == users.c.user_id)
            connection.execute(
                users.update()
                .where(users.c.user_id.in_(of), here)
                .values(since=None, items="[]", length=0)
            )
            connection.execute(users.delete().where(users.c.user_id.in_(of), ~here))
            used = sa.exists().where(events.c.landing == landings.c.landing)
            connection.execute(landings.delete().where(landings.c.done, ~used))
        return int(gone)

    def erase(self, user_id: str) -> int:
        """Forget a user; returns how many events went. Those not landed yet never will be."""
        with self._begin() as connection:
            connection.execute(users.delete().where(users.c.user_id == user_id))
            return int(
                connection.execute(events.delete().where(events.c.user_id == user_id)).rowcount
            )

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.execution_options(writes=True).begin() as connection:
            yield connection


class Held:
    """Some users, held by this job until the block ends."""

    def __init__(self, connection: sa.Connection, found: dict[str, User]) -> None:
        self.users = found
        self._connection = connection

    def days(self) -> dict[str, tuple[int, int]]:
        """The days (since 1970) of each user's oldest and newest event."""
        moment = events.c.timestamp
        query = (
            sa.select(events.c.user_id, sa.func.min(moment), sa.func.max(moment))
            .where(events.c.user_id.in_(list(self.users)))
            .group_by(events.c.user_id)
        )
        found = self._connection.execute(query)
        return {user: (first // DAY_US, last // DAY_US) for user, first, last in found}

    def add(self, rows: Sequence[Row]) -> None:
        """Keep events that are in the warehouse already."""
        insert(self._connection, events, [_stored(r, FROM_WAREHOUSE) for r in rows])

    def adopt(
        self, bases: Mapping[str, tuple[Sequence[str], int]], since: int, read_at: int
    ) -> None:
        """Set users' histories before the day `since`, as read at a time (microseconds)."""
        update = users.update().where(users.c.user_id == sa.bindparam("user"))
        values = []
        for user, (items, length) in bases.items():
            values.append(
                {"user": user, "since": since, "items": json.dumps(list(items)),
                 "length": length, "read_at": read_at}
            )  # fmt: skip
            known = self.users[user]
            known.since, known.items, known.length = since, list(items), length
        self._connection.execute(update, values)

    def events(self) -> dict[str, list[Any]]:
        """Each user's events since the base, in order of time; of one moment by message."""
        c = events.c
        query = (
            sa.select(c.user_id, c.timestamp, c.message_id, c.event, c.item_id, c.price, c.quantity)
            .join(users, users.c.user_id == c.user_id)
            .where(
                c.user_id.in_(list(self.users)),
                c.timestamp >= users.c.since * sa.literal(DAY_US, sa.BigInteger),
            )
        )
        found: dict[str, list[Any]] = {user: [] for user in self.users}
        for row in self._connection.execute(query):
            found[row.user_id].append(row)
        for rows in found.values():
            rows.sort(key=lambda r: (r.timestamp, r.message_id))
        return found

    def pushed(self) -> dict[str, int]:
        """Note that all these users' rows are online; returns their versions."""
        update = users.update().where(users.c.user_id == sa.bindparam("user"))
        versions = {user: known.version + 1 for user, known in self.users.items()}
        moment = now_us()
        values = [{"user": u, "version": v, "pushed_at": moment} for u, v in versions.items()]
        if values:
            self._connection.execute(update, values)
        return versions


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    """Rows whose key is there already are left out; returns how many were not."""
    if not rows:
        return 0
    (key,) = table.primary_key
    # In one order everywhere, so that two jobs never wait for each other.
    ordered = [row for _, row in sorted({row[key.name]: row for row in reversed(rows)}.items())]
    if connection.dialect.name == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_nothing()
        return int(connection.execute(statement, ordered).rowcount)
    # Of many rows PostgreSQL's driver counts none.
    told = postgresql.insert(table).on_conflict_do_nothing().returning(key)
    return len(connection.execute(told, ordered).all())


def now_us() -> int:
    return micros(datetime.now(UTC))


def micros(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _BEGIN) // timedelta(microseconds=1)


def as_moment(microseconds: int) -> datetime:
    return _BEGIN + timedelta(microseconds=microseconds)


_BEGIN = datetime(EPOCH.year, EPOCH.month, EPOCH.day, tzinfo=UTC)
_COLUMNS = [c.name for c in events.c if c.name != "landing"]


def _stored(row: Row, landing: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {name: row.get(name) for name in _COLUMNS}
    for name in ("timestamp", "received_at"):
        if isinstance(kept[name], datetime):
            kept[name] = micros(kept[name])
    return {**kept, "landing": landing}
