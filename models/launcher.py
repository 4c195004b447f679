"""A process that `torchrun` started ends when its agent is killed.

torchrun gives each of its processes a session of its own, so that killing the agent (by hand, or
by the kernel when memory ran out) would leave them training on, beside those of the agent that a
supervisor starts next, and both would write the same checkpoints.

Limits: Linux only; elsewhere orphans go on. An agent that is killed while its processes still
import leaves them waiting for one another until their rendezvous fails.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal

log = logging.getLogger(__name__)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def end_with_agent() -> None:
    """Ask the kernel for SIGKILL when the agent dies; does nothing without torchrun.

    Nothing gentler would do: in a collective that waits for a dead peer, Python handles no signal.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    try:
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    except (OSError, AttributeError):
        log.info("no prctl here: this process outlives a killed torchrun")
