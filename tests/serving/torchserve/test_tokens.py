"""Keys are read again when the file changes, and known to expire."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.torchserve.tokens import TokenError, TokenFile


def write(path: Path, key: str, minutes: float = 60) -> None:
    expires = datetime.now(UTC) + timedelta(minutes=minutes)
    stamp = f"{expires:%Y-%m-%dT%H:%M:%S}.123456789Z"  # nanoseconds, as TorchServe writes them
    content = {"inference": {"key": key, "expiration time": stamp}, "API": {"key": "api"}}
    path.write_text(json.dumps(content))


def test_new_keys_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "key_file.json"
    write(path, "one")
    tokens = TokenFile(path)
    assert tokens.inference_key() == "one"
    write(path, "two")
    os.utime(path, ns=(0, 1))
    assert tokens.inference_key() == "two"


def test_expiry(tmp_path: Path) -> None:
    path = tmp_path / "key_file.json"
    write(path, "one", minutes=5)
    tokens = TokenFile(path)
    assert tokens.expires_within(timedelta(minutes=10))
    assert not tokens.expires_within(timedelta(minutes=1))
    assert not tokens.expires_within(timedelta(days=9), "API")


@pytest.mark.parametrize("content", [None, "{"])
def test_no_readable_file_is_an_error_of_its_own(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key_file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenError, match=r"key_file\.json"):
        TokenFile(path).inference_key()
