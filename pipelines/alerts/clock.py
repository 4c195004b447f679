"""What time it is: injected, so that hours pass in tests without waiting."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Microseconds since 1970 UTC."""

    def now(self) -> int: ...


class SystemClock:
    """The machine's."""

    def now(self) -> int:
        return time.time_ns() // 1000
