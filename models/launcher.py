"""What a process that `torchrun` started owes its agent: an end, and a reason.

torchrun gives each of its processes a session of its own, so that killing the agent (by hand, or
by the kernel when memory ran out) would leave them training on, beside those of the agent that a
supervisor starts next, and both would write the same checkpoints.

And torchrun ends with 1, whatever a process of its ended with. A process that left its reason is
shown in torchrun's summary, and whoever set TORCHELASTIC_ERROR_FILE for torchrun finds reason and
exit code in that file (PyTorch's elastic errors).

Limits: Linux only; elsewhere orphans go on. An agent that is killed while its processes still
import leaves them waiting for one another until their rendezvous fails.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal

AGENTS_FILE = "TORCHELASTIC_ERROR_FILE"
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


def leave_reason(error: Exception) -> None:
    """Tell the agent why this process is about to fail; does nothing without torchrun."""
    if AGENTS_FILE in os.environ:
        # Here, since most scripts are never started by torchrun and need no torch.
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        try:
            get_error_handler().record_exception(error)
        except OSError as full:  # then the exit code and what was printed have to do
            log.warning("torchrun is not told why: %s", full)
