"""Signed webhooks by the Standard Webhooks specification: HMAC-SHA256 of id, time and body.

A receiver copies `verify`, or uses any library of the specification (standardwebhooks.com); the
body's `nonce` is fresh in each attempt, so that one who remembers nonces for as long as the time is
accepted refuses every replay, while the id stays the same when an attempt is repeated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, MutableSet

from pipelines.alerts.errors import AlertConfigError

_PREFIX = "whsec_"
_LEAST = 24  # bytes of secret that the specification asks for


class SignatureError(Exception):
    """A webhook that must not be acted on; the text says why."""


def secret_bytes(secret: str) -> bytes:
    """The key of `whsec_<base64>`.

    Raises:
        AlertConfigError: not of this form, or short. The text never repeats the secret.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _LEAST:
        raise AlertConfigError(
            f"a webhook's secret is whsec_ and the base64 of at least {_LEAST} random bytes; make "
            'one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return key


def sign(key: bytes, id: str, seconds: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    digest = hmac.new(key, f"{id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(
    key: bytes,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    nonces: MutableSet[str],
    tolerance_s: float = 300.0,
) -> None:
    """What a receiver does before it acts.

    Args:
        headers: with names in lower case.
        nonces: seen so far; those older than `tolerance_s` may be forgotten.

    Raises:
        SignatureError: not signed by the key, too old or from the future, or seen before.
    """
    try:
        id, sent = headers["webhook-id"], int(headers["webhook-timestamp"])
        signatures = headers["webhook-signature"].split()
    except (KeyError, ValueError) as error:
        raise SignatureError("webhook-id, -timestamp and -signature are needed") from error
    right = sign(key, id, sent, body)
    if not any(hmac.compare_digest(right.encode(), one.encode()) for one in signatures):
        raise SignatureError("no signature fits")
    if abs(now - sent) > tolerance_s:
        raise SignatureError(f"sent {now - sent:.0f} s ago; {tolerance_s:.0f} are accepted")
    nonce = str(json.loads(body)["nonce"])
    if nonce in nonces:
        raise SignatureError("seen before")
    nonces.add(nonce)
