"""The client of one TorchServe and all of its models: one connection pool, fresh tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from serving.torchserve.tokens import TokenError, TokenFile, renewal_url

log = logging.getLogger(__name__)


class ModelUnavailableError(RuntimeError):
    """The model gave no usable answer."""


class TorchServeClient:
    """Asks the models of one TorchServe.

    Args:
        url, management_url: of TorchServe, on loopback or a private network.
        key_file: where TorchServe keeps its access keys.
        timeout_s: for one round trip.
        renew_margin_s: keys that expire sooner than this are renewed.
        check_interval_s: how often to look at their expiry.
    """

    def __init__(
        self,
        url: str,
        management_url: str,
        key_file: str | Path,
        timeout_s: float,
        renew_margin_s: float,
        check_interval_s: float,
    ) -> None:
        self.url = url
        self.management_url = management_url
        self.tokens = TokenFile(Path(key_file))
        self.timeout = aiohttp.ClientTimeout(total=timeout_s)
        self.renew_margin = timedelta(seconds=renew_margin_s)
        self.check_interval_s = check_interval_s
        self._session: aiohttp.ClientSession | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=64, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self.timeout)
        self._renewal = asyncio.create_task(self._keep_tokens_fresh())

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._session is not None:
            await self._session.close()

    async def predict(
        self, model: str, instances: Sequence[Any], timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """The model's answers in order; one that was refused is `{"error": {status, detail}}`.

        Args:
            timeout_s: for this round trip, where the client's own does not fit.

        Raises:
            ModelUnavailableError: no connection, no token, time-out, or no such answers.
        """
        url = f"{self.url}/predictions/{model}"
        body = orjson.dumps({"instances": instances})
        timeout = self.timeout if timeout_s is None else aiohttp.ClientTimeout(total=timeout_s)
        status, answer = await self._post(url, body, timeout)
        if status in (400, 401, 403) and b"InvalidKeyException" in answer:
            self.tokens.forget()  # TorchServe restarted or renewed: its file has other keys now
            status, answer = await self._post(url, body, timeout)
        # A lone instance that is refused gives its own status to the whole answer.
        if status != 200 and not (status in (400, 413, 422) and len(instances) == 1):
            raise ModelUnavailableError(f"TorchServe answered {status}: {answer[:200]!r}")
        try:
            predictions: list[dict[str, Any]] = orjson.loads(answer)["predictions"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ModelUnavailableError(f"TorchServe answered {answer[:200]!r}") from error
        if len(predictions) != len(instances):
            raise ModelUnavailableError(f"{len(predictions)} answers to {len(instances)} questions")
        return predictions

    async def _post(
        self, url: str, body: bytes, timeout: aiohttp.ClientTimeout
    ) -> tuple[int, bytes]:
        assert self._session is not None, "open() comes first"
        try:
            headers = {
                "Authorization": f"Bearer {self.tokens.inference_key()}",
                "Content-Type": "application/json",
            }
            async with self._session.post(
                url, data=body, headers=headers, timeout=timeout
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, TokenError, OSError) as error:
            raise ModelUnavailableError(f"{type(error).__name__}: {error}") from error

    async def renew_tokens(self) -> None:
        """Ask TorchServe for new inference and management keys; it rewrites its key file."""
        assert self._session is not None, "open() comes first"
        for kind in ("inference", "management"):
            headers = {"Authorization": f"Bearer {self.tokens.key('API')}"}
            url = renewal_url(self.management_url, kind)
            async with self._session.get(url, headers=headers) as answer:
                if answer.status != 200:
                    text = (await answer.text())[:200]
                    raise ModelUnavailableError(f"token renewal answered {answer.status}: {text}")
        self.tokens.forget()

    async def _keep_tokens_fresh(self) -> None:
        while True:
            try:
                if self.tokens.expires_within(self.renew_margin):
                    await self.renew_tokens()
                    log.info("TorchServe keys renewed")
            except (aiohttp.ClientError, TimeoutError, TokenError, ModelUnavailableError) as error:
                log.warning("TorchServe keys not renewed: %s", error)
            await asyncio.sleep(self.check_interval_s)
