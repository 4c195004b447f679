"""TorchServe's access keys: read from its key file, renewed before they expire.

TorchServe writes `key_file.json` into its working directory when it starts: keys for inference and
management, which expire, and an API key that renews them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


class TokenError(RuntimeError):
    """The key file is not there or not readable: TorchServe has not started, or elsewhere."""

    exit_code = 69  # EX_UNAVAILABLE


@dataclass
class TokenFile:
    """The keys of one TorchServe, read again whenever the file changes."""

    path: Path

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        self._stamp: tuple[int, int] | None = None
        self._content: dict[str, Any] = {}

    def key(self, kind: str) -> str:
        """The current key: kind is `inference`, `management` or `API`."""
        return str(self._read()[kind]["key"])

    def inference_key(self) -> str:
        return self.key("inference")

    def expires_within(self, margin: timedelta, kind: str = "inference") -> bool:
        """Whether the key expires before `margin` has passed."""
        text = self._read()[kind].get("expiration time")
        if text is None:
            return False
        expires = datetime.fromisoformat(text.replace("Z", "+00:00"))
        expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        return expires - datetime.now(UTC) < margin

    def forget(self) -> None:
        """Read the file again at the next call, whatever its time of change says."""
        self._stamp = None

    def _read(self) -> dict[str, Any]:
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._content = json.loads(self.path.read_text(encoding="utf-8"))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            raise TokenError(f"{self.path}: no readable TorchServe keys ({error})") from error
        return self._content


def renewal_url(management_url: str, kind: str) -> str:
    """Where a GET with the API key makes a new key of this kind and rewrites the key file."""
    return f"{management_url}/token?type={kind}"
