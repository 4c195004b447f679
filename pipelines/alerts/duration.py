"""Durations as people write them: `30s`, `5m`, `1h30m`, `2d`; in here microseconds."""

from __future__ import annotations

import re

from pipelines.alerts.errors import AlertConfigError

_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}
_WHOLE = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def duration_us(text: object) -> int:
    """Microseconds of a duration.

    Raises:
        AlertConfigError: it is none.

    >>> duration_us("1h30m") // 1_000_000
    5400
    """
    found = _WHOLE.fullmatch(str(text).strip())
    if not found or not any(found.groups()):
        raise AlertConfigError(f"{text!r} is no duration; write 30s, 5m, 1h30m or 2d")
    return sum(int(n or 0) * unit for n, unit in zip(found.groups(), _UNITS.values(), strict=True))


def shown(us: int) -> str:
    """The two largest parts of a duration.

    >>> shown(5_400_000_000)
    '1h 30m'
    """
    parts = []
    for letter, unit in _UNITS.items():
        count, us = divmod(max(us, 0), unit)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts[:2]) or "0s"
