"""The register of erasures: whose rows must not come back, known by a salted hash only.

A raw table that cannot be rewritten (a file of another system), or one restored from a backup, may
still name somebody who was erased. Computation leaves out their rows up to the erasure; what they
do afterwards, if they come back, counts again.

Limits: whoever holds both the salt and a list of ids can find out which of them were erased.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import NamedTuple

import ibis
import pyarrow as pa
import sqlalchemy as sa
from ibis.expr.types import Table

from feature_repo.engines import Engine
from feature_repo.metadata import METADATA

KEY = "user_id"
TIMESTAMP = "timestamp"

salts = sa.Table(
    "erasure_salts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("salt", sa.String(32), nullable=False),
)
erasures = sa.Table(
    "erasures",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("subject_hash", sa.String(64), nullable=False, index=True),
    sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("asked_by", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("rows_removed", sa.BigInteger),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
)


def salt_of(metadata: sa.Engine) -> str:
    """The store's salt, made at the first call."""
    query = sa.select(salts.c.salt)
    with metadata.begin() as connection:
        found = connection.execute(query).scalar()
        if found is None:
            found = secrets.token_hex(16)
            connection.execute(salts.insert(), [{"id": 1, "salt": found}])
    return str(found)


def subject_hash(salt: str, user: str) -> str:
    return hashlib.sha256((salt + user).encode()).hexdigest()


def begin(metadata: sa.Engine, user: str, by: str, why: str) -> tuple[int, str]:
    """Enter an erasure, so that nothing brings the user back from now on; its id and hash."""
    code = subject_hash(salt_of(metadata), user)
    row = {"subject_hash": code, "asked_at": datetime.now(UTC), "asked_by": by, "why": why}
    with metadata.begin() as connection:
        made = connection.execute(erasures.insert().values(**row)).inserted_primary_key
    assert made is not None, "the database gave the new erasure no id"
    return int(made[0]), code


def finish(metadata: sa.Engine, erasure: int, rows_removed: int) -> None:
    change = {"rows_removed": rows_removed, "finished_at": datetime.now(UTC)}
    with metadata.begin() as connection:
        connection.execute(erasures.update().where(erasures.c.id == erasure).values(**change))


class Erased(NamedTuple):
    """Who was erased when; empty in most stores.

    Args:
        seconds: hash → seconds since 1970 of the last erasure.
    """

    salt: str
    seconds: dict[str, int]

    @classmethod
    def of(cls, metadata: sa.Engine) -> Erased:
        query = sa.select(erasures.c.subject_hash, sa.func.max(erasures.c.asked_at)).group_by(
            erasures.c.subject_hash
        )
        with metadata.connect() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return cls("", {})
        # SQLite gives times back without their zone.
        found = {code: int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) for code, at in rows}
        return cls(salt_of(metadata), found)

    def covers(self, user: str, moment: datetime) -> bool:
        """Whether something that this user did at this moment must stay forgotten."""
        at = self.seconds.get(subject_hash(self.salt, user)) if self.seconds else None
        return at is not None and int(moment.timestamp()) <= at

    def without(self, table: Table, engine: Engine) -> Table:
        """A raw table without what erased users did before their erasure."""
        if not self.seconds or KEY not in table.columns:
            return table
        listed = engine.arrow(
            pa.table({"hash": list(self.seconds), "erased_at": list(self.seconds.values())})
        )
        users = table.select(KEY).distinct()
        users = users.mutate(
            hash=(ibis.literal(self.salt) + users[KEY].cast("string")).hexdigest("sha256")
        )
        hits = users.join(listed, "hash").select(__erased=users[KEY], __erased_at=listed.erased_at)
        joined = table.left_join(hits, table[KEY] == hits["__erased"])
        stays = joined["__erased_at"].isnull()
        if TIMESTAMP in table.columns:
            stays = stays | (joined[TIMESTAMP].epoch_seconds() > joined["__erased_at"])
        return joined.filter(stays).select(*table.columns)
