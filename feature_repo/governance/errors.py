"""What governance refuses."""

from __future__ import annotations


class GovernanceError(ValueError):
    """A request that cannot be carried out; the message says why and what would be accepted."""

    exit_code = 65  # EX_DATAERR


class UnfinishedError(GovernanceError):
    """Something could not be reached now; running the command again continues."""

    exit_code = 75  # EX_TEMPFAIL
