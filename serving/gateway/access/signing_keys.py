"""An issuer's public keys: fetched once, kept, and fetched again when they rotate.

OpenID Connect Discovery 1.0 says where they are; RFC 7517 what they look like.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
import orjson

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20  # of a discovery document or a key set: no issuer needs more
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class IssuerError(RuntimeError):
    """The issuer gives no usable keys."""


class InsecureIssuerError(ValueError):
    """No issuer to trust, or one whose keys would come in the clear over a network."""

    exit_code = 78  # EX_CONFIG


class SigningKeys:
    """The keys of one issuer, by `kid`.

    Args:
        issuer: its URL, as its tokens have it; its `/.well-known/openid-configuration` is asked
            for the place of the keys.
        jwks_uri: that place, for an issuer without discovery; null: ask.
        lifetime_s: keys older than this are fetched again, behind the answers.
        keep_s: keys older than this are not believed any more, should the issuer stay away.
        cooldown_s: between two fetches: forged tokens with invented kids cannot flood the issuer.
        timeout_s: for one fetch.
        ca_file: certificates to trust besides the system's.

    Raises:
        InsecureIssuerError: no issuer, or a URL that is neither https nor on loopback.
    """

    def __init__(
        self,
        issuer: str | None,
        jwks_uri: str | None = None,
        lifetime_s: float = 300,
        keep_s: float = 86400,
        cooldown_s: float = 10,
        timeout_s: float = 3,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not issuer:
            raise InsecureIssuerError(
                "no issuer: set gateway.access.verifiers.oidc.keys.issuer to the URL that its "
                "tokens have as `iss`"
            )
        self.issuer = issuer
        self.jwks_uri = jwks_uri
        self.lifetime_s = lifetime_s
        self.keep_s = keep_s
        self.cooldown_s = cooldown_s
        self.timeout_s = timeout_s
        self._ssl: Any = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._clock = clock
        self._keys: dict[str | None, list[jwt.PyJWK]] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None
        self.fetches = 0
        for url in filter(None, (issuer, jwks_uri)):
            _require_private(url)

    async def candidates(self, kid: str | None) -> list[jwt.PyJWK]:
        """Keys that may have signed a token with this `kid`; without one, all of them.

        Raises:
            IssuerError: no key was ever had, or the last are too old, and the issuer is away.
        """
        if self._too_old():
            await self._fetch_once(None)
        elif self._age() > self.lifetime_s:
            self._refresh_behind()
        found = self._matching(kid)
        if not found:
            with_other_keys = self._fetched
            await self._fetch_once(with_other_keys)
            found = self._matching(kid)
        return found

    async def close(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()

    def _matching(self, kid: str | None) -> list[jwt.PyJWK]:
        if kid is None:
            return [key for keys in self._keys.values() for key in keys]
        return self._keys.get(kid, [])

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self._clock() - self._fetched

    def _too_old(self) -> bool:
        return self._age() > self.keep_s

    def _refresh_behind(self) -> None:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._fetch_once(self._fetched))

    async def _fetch_once(self, seen: float | None) -> None:
        """Fetch unless somebody else has since `seen`, or has tried a moment ago."""
        async with self._lock:
            if self._fetched is not None and self._fetched != seen and not self._too_old():
                return
            if self._tried is not None and self._clock() - self._tried < self.cooldown_s:
                if self._too_old():
                    raise IssuerError(f"{self.issuer} has given no keys")
                return
            self._tried = self._clock()
            try:
                self._keys = await self._fetch()
                self._fetched = self._clock()
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, IssuerError) as error:
                log.warning(
                    "keys of %s not fetched: %s: %s", self.issuer, type(error).__name__, error
                )
                if self._too_old():
                    raise IssuerError(f"{self.issuer} has given no keys") from error

    async def _fetch(self) -> dict[str | None, list[jwt.PyJWK]]:
        self.fetches += 1
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            uri = self.jwks_uri or await self._discover(session)
            document = await self._get(session, uri)
        keys: dict[str | None, list[jwt.PyJWK]] = {}
        for entry in document.get("keys", []):
            if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
                continue
            if entry.get("kty") == "oct":  # a shared secret is no public key
                continue
            try:
                keys.setdefault(entry.get("kid"), []).append(jwt.PyJWK.from_dict(entry))
            except jwt.PyJWTError as error:
                log.warning("a key of %s is not usable: %s", self.issuer, type(error).__name__)
        if not keys:
            raise IssuerError(f"no usable key at {uri}")
        return keys

    async def _discover(self, session: aiohttp.ClientSession) -> str:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await self._get(session, url)
        if document.get("issuer") != self.issuer:
            raise IssuerError(f"{url} speaks for {document.get('issuer')!r}, not {self.issuer!r}")
        uri = document.get("jwks_uri")
        if not isinstance(uri, str):
            raise IssuerError(f"{url} names no jwks_uri")
        try:
            _require_private(uri)
        except InsecureIssuerError as error:
            raise IssuerError(str(error)) from error
        return uri

    async def _get(self, session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
        async with session.get(url, ssl=self._ssl, allow_redirects=False) as answer:
            if answer.status != 200:
                raise IssuerError(f"{url} answered {answer.status}")
            body = await answer.content.read(_MAX_BYTES)
            while len(body) < _MAX_BYTES and (more := await answer.content.read(_MAX_BYTES)):
                body += more
        document = orjson.loads(body)
        if not isinstance(document, dict):
            raise IssuerError(f"{url} answered no JSON object")
        return document


def _require_private(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise InsecureIssuerError(f"{url}: keys come over https (http only from this machine)")
