"""API keys: a secret that is shown once; the metadata database keeps only its hash.

A key reads `mk_<id>_<secret>`. The id finds the row. The secret is 256 random bits, so that one
SHA-256 is as good as a slow password hash: there is nothing to guess.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from feature_repo.metadata import METADATA
from serving.gateway.access.roles import Principal, Role

PREFIX = "mk_"
_ID_BYTES, _SECRET_BYTES = 6, 32

api_keys = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),  # project → role
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_by", sa.String(255)),
)


class ApiKeyError(ValueError):
    """A key that cannot be made or is not there."""

    exit_code = 65  # EX_DATAERR


class ApiKey(NamedTuple):
    """A row, without its hash."""

    id: str
    name: str
    roles: Mapping[str, Role]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None

    @property
    def principal(self) -> Principal:
        return Principal(f"key:{self.name}", self.roles)

    def state(self, now: datetime) -> str:
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= now
        return "expired" if expired else "active"

    def as_dict(self, now: datetime) -> dict[str, Any]:
        """For people and for JSON."""
        moments = ("created_at", "expires_at", "revoked_at")
        shown = {m: v.isoformat() if (v := getattr(self, m)) else None for m in moments}
        roles = {project: str(role) for project, role in self.roles.items()}
        return {**self._asdict(), **shown, "roles": roles, "state": self.state(now)}


class Stored(NamedTuple):
    """A key with the hash of its secret."""

    key: ApiKey
    hash: str

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.hash, digest(secret))


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def split(credential: str) -> tuple[str, str] | None:
    """Id and secret of what a caller sends; None if it is no API key."""
    if not credential.startswith(PREFIX):
        return None
    key_id, _, secret = credential[len(PREFIX) :].partition("_")
    return (key_id, secret) if key_id and secret else None


class ApiKeys:
    """The keys of one metadata database."""

    def __init__(self, database: sa.Engine) -> None:
        self.database = database

    def create(
        self,
        name: str,
        roles: Mapping[str, Role],
        by: str,
        lifetime: timedelta | None,
        now: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody can be told again.

        Raises:
            ApiKeyError: no name, no role, or the name was given before. Names are never given
                twice, so that the audit log stays clear.
        """
        if not name or len(name) > 255 or not name.isprintable():
            raise ApiKeyError(f"name {name!r}: accepted are 1 to 255 printable characters")
        if not roles:
            raise ApiKeyError(f"key {name!r} has no role")
        now = now or datetime.now(UTC)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(
            secrets.token_hex(_ID_BYTES),
            name,
            dict(roles),
            now,
            by,
            now + lifetime if lifetime is not None else None,
            None,
            None,
        )
        row = {**key._asdict(), "hash": digest(secret), "roles": dict(roles)}
        try:
            with self.database.begin() as connection:
                connection.execute(api_keys.insert(), row)
        except sa.exc.IntegrityError as error:
            raise ApiKeyError(
                f"there is or was a key named {name!r}; choose another name"
            ) from error
        return key, f"{PREFIX}{key.id}_{secret}"

    def all(self) -> list[ApiKey]:
        return [stored.key for stored in self.stored()]

    def stored(self) -> list[Stored]:
        """Every key with its hash, oldest first."""
        query = api_keys.select().order_by(api_keys.c.created_at, api_keys.c.id)
        with self.database.connect() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def revoke(self, which: str, by: str, now: datetime | None = None) -> ApiKey:
        """End a key by its name or id; it stays in the list.

        Raises:
            ApiKeyError: there is none, or it is revoked already.
        """
        found = next((k for k in self.all() if which in (k.id, k.name)), None)
        if found is None:
            names = [k.name for k in self.all()]
            near = difflib.get_close_matches(which, names, 3)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise ApiKeyError(f"no key {which!r}{hint}")
        if found.revoked_at is not None:
            raise ApiKeyError(f"key {found.name!r} was revoked at {found.revoked_at.isoformat()}")
        moment = now or datetime.now(UTC)
        with self.database.begin() as connection:
            mine = api_keys.c.id == found.id
            values = {"revoked_at": moment, "revoked_by": by}
            connection.execute(api_keys.update().where(mine).values(values))
        return found._replace(revoked_at=moment, revoked_by=by)


def _stored(row: Any) -> Stored:
    values = dict(row._mapping)
    hashed = values.pop("hash")
    for name in ("created_at", "expires_at", "revoked_at"):
        values[name] = _utc(values[name])
    values["roles"] = {project: Role(role) for project, role in values["roles"].items()}
    return Stored(ApiKey(**values), hashed)


def _utc(moment: datetime | None) -> datetime | None:
    """SQLite keeps no zone: what it gives back is UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
