"""A remediation hook: a signed webhook that asks for an action, where that is allowed.

Nothing leaves the house unless the host and the action are on the allow-list and `dry_run` is off.
What was sent, or would have been, and what came back stay in `alert_notifications`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from pipelines.alerts.clock import Clock
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.letter import Letter
from pipelines.alerts.senders.post import as_body, endpoint, post
from pipelines.alerts.senders.sender import Receipt
from pipelines.alerts.signature import secret_bytes, sign


class RemediationSender:
    """See the module, and `signature.py` for what a receiver checks.

    Args:
        url: of the hook.
        action: what is asked for.
        parameters: of the action, as the hook knows them.
        secret: `whsec_…`, from the environment; may be empty in a dry run.
        hosts: allowed, each `host` or `host:port`.
        actions: allowed.
        dry_run: record what would be sent, and send nothing.
        require_https: refuse a URL that is not.

    Raises:
        AlertConfigError: a host or action that is not allowed, no https, a bad secret.
    """

    def __init__(
        self,
        url: str,
        action: str,
        parameters: dict[str, Any],
        secret: str,
        hosts: Sequence[str],
        actions: Sequence[str],
        dry_run: bool,
        require_https: bool,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        parts = endpoint(url)
        if not {parts.hostname, f"{parts.hostname}:{parts.port}"} & set(hosts):
            raise AlertConfigError(f"host {parts.netloc.rpartition('@')[2]!r} is not on the "
                                   f"allow-list {list(hosts)}")  # fmt: skip
        if action not in actions:
            raise AlertConfigError(f"action {action!r} is not on the allow-list {list(actions)}")
        if require_https and parts.scheme != "https":
            raise AlertConfigError(f"a hook needs https, not {parts.scheme}://{parts.hostname}")
        self._url, self._action, self._parameters = url, action, dict(parameters)
        self._key = b"" if dry_run and not secret else secret_bytes(secret)
        self._dry_run = dry_run
        self._timeout_s = timeout_s
        self._clock = clock

    def send(self, letter: Letter) -> Receipt:
        message = letter.message
        content = {
            "action": self._action,
            "parameters": self._parameters,
            "nonce": secrets.token_urlsafe(16),
            "alert": message.alert,
            "reason": message.reason,
            "kind": message.kind,
            "severity": message.severity,
            "sources": message.sources,
            "fields": [m.field for m in message.moved],
            "anomaly": message.worst.get("id"),
            "subject": message.subject,
        }
        if self._dry_run:
            would = json.dumps(content, ensure_ascii=False)
            return Receipt(f"would POST to {endpoint(self._url).hostname}: {would}", dry_run=True)
        body = as_body(content)
        seconds = self._clock.now() // 1_000_000
        headers = {
            "webhook-id": letter.key,
            "webhook-timestamp": str(seconds),
            "webhook-signature": sign(self._key, letter.key, seconds, body),
            "Idempotency-Key": letter.key,
        }
        return Receipt(post(self._url, body, headers, self._timeout_s))
