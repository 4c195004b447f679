"""Whose API key this is, from a copy of the keys in memory: no request waits for the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from feature_repo.store import StoreError
from serving.gateway.access.database import Database
from serving.gateway.access.keys import ApiKeys, Stored, digest, split
from serving.gateway.access.refusals import bad_credentials, unavailable
from serving.gateway.access.roles import Principal

log = logging.getLogger(__name__)


class KeyVerifier:
    """Knows principals by their API keys.

    Args:
        refresh_s: how often the keys are read again; a revoked key works for so long at most.
        cooldown_s: between two readings for keys that nobody knows yet.
        keep_s: a copy older than this is not believed any more, should the database stay away.
    """

    accepts = "X-API-Key: mk_…"

    def __init__(
        self,
        refresh_s: float,
        cooldown_s: float,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refresh_s = refresh_s
        self.cooldown_s = cooldown_s
        self.keep_s = keep_s
        self._clock = clock
        self._known: dict[str, Stored] = {}
        self._read: float | None = None
        self._tried = -float("inf")
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._database: Database | None = None

    async def open(self, database: Database) -> None:
        self._database = database
        await self.reload()
        self._refreshing = asyncio.create_task(self._refresh_forever())

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()

    def knows(self, credential: str) -> bool:
        return split(credential) is not None

    def recall(self, credential: str) -> Principal | None:
        """The principal, if the key is in the copy and good; a look-up and a hash."""
        parts = split(credential)
        stored = self._known.get(parts[0]) if parts and not self._too_old() else None
        if parts is None or stored is None or not stored.matches(parts[1]):
            return None
        good = stored.key.state(datetime.now(UTC)) == "active"
        return stored.key.principal if good else None

    async def verify(self, credential: str) -> Principal:
        """The principal of a key.

        Raises:
            Refusal: 401 with the reason, 503 if the keys cannot be read.
        """
        parts = split(credential)
        assert parts is not None, "knows() comes first"
        key_id, secret = parts
        if key_id not in self._known or self._too_old():
            await self._reload_once()
        if self._too_old():
            raise unavailable("the database of API keys cannot be read")
        stored = self._known.get(key_id)
        if stored is None:
            digest(secret)  # an unknown id takes no less time than a wrong secret
            raise bad_credentials("unknown_key", "there is no such API key")
        if not stored.matches(secret):
            raise bad_credentials("unknown_key", "there is no such API key")
        key, who = stored.key, stored.key.principal.name
        if key.revoked_at is not None:
            raise bad_credentials(
                "revoked", f"the API key was revoked at {key.revoked_at:%FT%TZ}", who
            )
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise bad_credentials("expired", f"the API key expired at {key.expires_at:%FT%TZ}", who)
        return key.principal

    async def reload(self) -> None:
        """Read all keys now; if that fails the old copy stays."""
        self._tried = self._clock()
        try:
            stored = await asyncio.to_thread(self._stored)
        except (sa.exc.SQLAlchemyError, StoreError, OSError) as error:
            log.warning("API keys not read: %s", str(error).splitlines()[0])
            return
        self._known = {s.key.id: s for s in stored}
        self._read = self._clock()

    def _stored(self) -> list[Stored]:
        assert self._database is not None, "open() comes first"
        return ApiKeys(self._database.engine()).stored()

    async def _reload_once(self) -> None:
        async with self._lock:
            if self._clock() - self._tried >= self.cooldown_s:
                await self.reload()

    def _too_old(self) -> bool:
        return self._read is None or self._clock() - self._read > self.keep_s

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            await self.reload()
