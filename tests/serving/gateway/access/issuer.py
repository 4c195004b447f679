"""A small OpenID Connect issuer with real keys, over real HTTP; it can rotate and go away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class Issuer:
    """Signs tokens with an RSA key `rsa-1` and an EC key `ec-1`, until they rotate."""

    def __init__(self) -> None:
        self.url = ""
        self.generation = 1
        self.away = False
        self.asked: list[str] = []
        self._keys = self._made()

    def _made(self) -> dict[str, Any]:
        return {
            f"rsa-{self.generation}": rsa.generate_private_key(65537, 2048),
            f"ec-{self.generation}": ec.generate_private_key(ec.SECP256R1()),
        }

    def rotate(self) -> None:
        """New keys; the old ones are not published any more."""
        self.generation += 1
        self._keys = self._made()

    def token(
        self,
        *,
        algorithm: str = "RS256",
        kid: str | None = "",
        key: Any = None,
        without: tuple[str, ...] = (),
        **claims: Any,
    ) -> str:
        """A token that is right unless it is made otherwise.

        Args:
            kid: of the header; "" the current key's, None leaves it out.
            key: another one to sign with.
            without: claims to leave out.
        """
        now = int(time.time())
        payload = {
            "iss": self.url, "aud": "millrace", "sub": "ada", "iat": now, "exp": now + 600,
            "roles": ["reader"], **claims,
        }  # fmt: skip
        name = f"{'ec' if algorithm == 'ES256' else 'rsa'}-{self.generation}"
        headers = {} if kid is None else {"kid": kid or name}
        content = {k: v for k, v in payload.items() if k not in without}
        return jwt.encode(content, key or self._keys[name], algorithm, headers)

    def public_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        public = self._keys[f"rsa-{self.generation}"].public_key()
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        pem: bytes = public.public_bytes(serialization.Encoding.PEM, kind)
        return pem

    def jwks(self) -> dict[str, Any]:
        published = []
        for kid, key in self._keys.items():
            algorithm: Any = RSAAlgorithm if kid.startswith("rsa") else ECAlgorithm
            public = algorithm.to_jwk(key.public_key(), as_dict=True)
            published.append({**public, "kid": kid, "use": "sig"})
        return {"keys": published}

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.away:
            return web.Response(status=503)
        if request.path == "/keys":
            return web.json_response(self.jwks())
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """In a thread and loop of its own."""
    issuer = Issuer()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.answer)
    app.router.add_get("/keys", issuer.answer)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()))
    thread.start()
    assert started.wait(10)
    try:
        yield issuer
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
