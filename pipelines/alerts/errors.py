"""What the alerts refuse."""

from __future__ import annotations


class AlertConfigError(ValueError):
    """A setting of the alerts that makes no sense; the text names it and what would."""

    exit_code = 78  # EX_CONFIG


class AlertCommandError(ValueError):
    """A command on alerts that cannot be carried out; the text says why."""

    exit_code = 65  # EX_DATAERR


class SendError(Exception):
    """A notification that did not arrive.

    Args:
        permanent: trying again will not help.
        response: what the other side said, if it said anything.
    """

    exit_code = 69  # EX_UNAVAILABLE

    def __init__(self, text: str, permanent: bool = False, response: str | None = None) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.response = response
