"""What carries a notification out of the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipelines.alerts.letter import Letter
from pipelines.alerts.message import Message


class Receipt(NamedTuple):
    """It arrived, or with `dry_run` would have been sent.

    Args:
        response: what the other side said, or what would have been sent.
    """

    response: str = ""
    dry_run: bool = False


class Sender(Protocol):
    def send(self, letter: Letter) -> Receipt:
        """Carry one notification; `letter.key` lets a receiver know it again.

        Raises:
            SendError: it did not arrive.
        """
        ...


class Refreshing(Protocol):
    """A sender whose receiver forgets what it is not told again."""

    def refresh(self, messages: Sequence[Message]) -> None:
        """Tell again of all alerts that are firing.

        Raises:
            SendError: it did not arrive; the next time makes up for it.
        """
        ...
