"""The journal of recent reviews, judged: each message once, and what has become of it.

An item's pushed features are a function of its reviews in the warehouse and in here, never of what
was pushed before. So it does not matter how often a message comes, in which order, or where a job
was killed. A review keeps the judgement it was entered with.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from feature_repo.streaming.database import open_database
from feature_repo.streaming.journal import insert, micros, now_us

DAY_S = 86_400
_TABLES = sa.MetaData()

reviews = sa.Table(
    "stream_reviews",
    _TABLES,
    sa.Column("message_id", sa.String(300), primary_key=True),
    sa.Column("review_id", sa.String(300), nullable=False, unique=True),
    sa.Column("user_id", sa.String(255)),
    sa.Column("anonymous_id", sa.String(255)),
    sa.Column("item_id", sa.String(255), nullable=False),
    sa.Column("stars", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("timestamp", sa.BigInteger, nullable=False),  # microseconds since 1970
    sa.Column("received_at", sa.BigInteger),
    sa.Column("sentiment", sa.Float),
    sa.Column("reason", sa.Text),  # why there is no sentiment
    sa.Column("sentiment_version", sa.String(64), nullable=False),
    sa.Column("scored_at", sa.BigInteger, nullable=False),
    sa.Column("landing", sa.String(36)),  # null: not yet in the warehouse
    sa.Index("stream_reviews_of_item", "item_id"),
    sa.Index("stream_reviews_by_landing", "landing"),
)
items = sa.Table(
    "stream_review_items",
    _TABLES,
    sa.Column("item_id", sa.String(255), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),  # of what was pushed online
    sa.Column("flushed", sa.BigInteger, nullable=False),  # version that is in the offline store
)
landings = sa.Table(
    "stream_review_landings",
    _TABLES,
    sa.Column("landing", sa.String(36), primary_key=True),
    sa.Column("begun_at", sa.BigInteger, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)
COLUMNS = [c.name for c in reviews.c if c.name != "landing"]


class ReviewJournal:
    """See the module; for the arguments, `feature_repo.streaming.journal.Journal`."""

    def __init__(self, url: str, folder: Path, busy_s: float) -> None:
        self._engine = open_database(url, folder, busy_s, _TABLES)

    def unknown(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Rows whose message has not been entered, each once."""
        given = {row["message_id"]: row for row in rows}
        query = sa.select(reviews.c.message_id).where(reviews.c.message_id.in_(list(given)))
        with self._engine.connect() as connection:
            known = set(connection.execute(query).scalars())
        return [row for name, row in given.items() if name not in known]

    def add(self, rows: Sequence[Mapping[str, Any]], named: Sequence[str]) -> int:
        """Enter judged reviews, and make their items known; returns how many were new.

        Of two messages with one `review_id`, the first counts.
        """
        with self._begin() as connection:
            new = insert(connection, reviews, [_stored(row) for row in rows])
            fresh = [{"item_id": item, "version": 0, "flushed": 0} for item in named]
            insert(connection, items, fresh)
        return new

    @contextmanager
    def held(self, named: Sequence[str]) -> Iterator[tuple[list[dict[str, Any]], dict[str, int]]]:
        """Hold items until the block ends: their reviews, and the versions that they will have.

        Nobody else computes or pushes their rows meanwhile. If the block fails, nothing is noted.
        """
        known = sa.select(items).where(items.c.item_id.in_(named)).order_by(items.c.item_id)
        theirs = sa.select(*(reviews.c[n] for n in COLUMNS)).where(reviews.c.item_id.in_(named))
        with self._begin() as connection:
            found = connection.execute(known.with_for_update()).all()
            versions = {row.item_id: row.version + 1 for row in found}
            yield [dict(r) for r in connection.execute(theirs).mappings()], versions
            update = items.update().where(items.c.item_id == sa.bindparam("item"))
            if versions:
                connection.execute(
                    update, [{"item": item, "version": v} for item, v in versions.items()]
                )

    def unflushed(self, most: int) -> dict[str, int]:
        """Items, and their versions, whose newest row is not in the offline store."""
        query = (
            sa.select(items.c.item_id, items.c.version)
            .where(items.c.version > items.c.flushed)
            .order_by(items.c.item_id)
            .limit(most)
        )
        with self._engine.connect() as connection:
            return {row.item_id: row.version for row in connection.execute(query)}

    def reviews_of(self, named: Sequence[str]) -> list[dict[str, Any]]:
        query = sa.select(*(reviews.c[n] for n in COLUMNS)).where(reviews.c.item_id.in_(named))
        with self._engine.connect() as connection:
            return [dict(r) for r in connection.execute(query).mappings()]

    def flushed(self, versions: Mapping[str, int]) -> None:
        """These versions of items are in the offline store."""
        mine = (items.c.item_id == sa.bindparam("item")) & (items.c.flushed < sa.bindparam("v"))
        update = items.update().where(mine).values(flushed=sa.bindparam("v"))
        with self._begin() as connection:
            connection.execute(update, [{"item": i, "v": v} for i, v in sorted(versions.items())])

    def begin_landing(self, most: int) -> str | None:
        """Choose reviews that are not in the warehouse yet; None if there are none."""
        landing = str(uuid.uuid4())
        chosen = (
            sa.select(reviews.c.message_id)
            .where(reviews.c.landing.is_(None))
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        mine = reviews.c.message_id.in_(chosen.scalar_subquery())
        with self._begin() as connection:
            if not connection.execute(
                reviews.update().where(mine).values(landing=landing)
            ).rowcount:
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
        """The reviews of a landing."""
        query = sa.select(*(reviews.c[n] for n in COLUMNS)).where(reviews.c.landing == landing)
        with self._engine.connect() as connection:
            return [dict(r) for r in connection.execute(query).mappings()]

    def finish_landing(self, landing: str) -> None:
        done = landings.update().where(landings.c.landing == landing).values(done=True)
        with self._begin() as connection:
            connection.execute(done)

    def prune(self, keep_days: int) -> int:
        """Drop what has been in the warehouse for some days; returns how many reviews went."""
        limit = now_us() - keep_days * DAY_S * 1_000_000
        landed = reviews.c.landing.in_(sa.select(landings.c.landing).where(landings.c.done))
        with self._begin() as connection:
            gone = connection.execute(
                reviews.delete().where(reviews.c.scored_at < limit, landed)
            ).rowcount
            quiet = ~sa.exists().where(reviews.c.item_id == items.c.item_id)
            connection.execute(items.delete().where(items.c.flushed >= items.c.version, quiet))
            used = sa.exists().where(reviews.c.landing == landings.c.landing)
            connection.execute(landings.delete().where(landings.c.done, ~used))
        return int(gone)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.execution_options(writes=True).begin() as connection:
            yield connection


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: row[name] for name in COLUMNS}
    for name in ("timestamp", "received_at", "scored_at"):
        kept[name] = None if kept[name] is None else micros(kept[name])
    return {**kept, "landing": None}
