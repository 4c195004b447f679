"""How many cores this process has."""

from __future__ import annotations

import os


def cores() -> int:
    """Those that it may run on, which in a container or under taskset are fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
