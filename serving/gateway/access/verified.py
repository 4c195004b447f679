"""Credentials that were found right a moment ago: looking them up costs microseconds."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from serving.gateway.access.roles import Principal


class Verified:
    """Principals by the hash of their token, until a moment; the least recently used leave first.

    Args:
        max_entries: kept at once.
        max_age_s: after which a token is checked again, whatever its own end; a key that its issuer
            has withdrawn is believed for so long.
    """

    def __init__(
        self, max_entries: int, max_age_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_entries = max_entries
        self.max_age_s = max_age_s
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def get(self, token: str) -> Principal | None:
        digest = _digest(token)
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry[1]

    def put(self, token: str, principal: Principal, until: float) -> None:
        """Believe it until then (seconds since 1970), or until `max_age_s` from now."""
        self._entries[_digest(token)] = (min(until, self._clock() + self.max_age_s), principal)
        if len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
