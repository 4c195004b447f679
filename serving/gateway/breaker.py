"""A circuit breaker: do not ask again and again what has just failed several times."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Closed until `failures` calls in a row fail; then open for `open_s` seconds.

    After that one probe is let through (half-open): its success closes the breaker, its failure
    opens it again.
    """

    def __init__(
        self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = failures
        self.open_s = open_s
        self._clock = clock
        self._failed = 0
        self._opened: float | None = None
        self._probe_since: float | None = None

    @property
    def state(self) -> str:
        if self._opened is None:
            return "closed"
        return "half_open" if self._clock() - self._opened >= self.open_s else "open"

    def allow(self) -> bool:
        """Whether to make a call now."""
        state = self.state
        if state != "half_open":
            return state == "closed"
        now = self._clock()
        if self._probe_since is not None and now - self._probe_since < self.open_s:
            return False
        self._probe_since = now
        return True

    def success(self) -> None:
        self._failed = 0
        self._opened = self._probe_since = None

    def failure(self) -> None:
        self._failed += 1
        if self._failed >= self.limit or self._opened is not None:
            self._opened = self._clock()
            self._probe_since = None
