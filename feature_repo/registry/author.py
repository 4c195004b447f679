"""Who changes a definition, and why."""

from __future__ import annotations

import getpass
import os
from typing import NamedTuple


class Author(NamedTuple):
    """Args:
    by: a person's or a service's name.
    why: in words, for those who read the history.
    """

    by: str
    why: str


def author(by: str | None, why: str | None, otherwise: str = "") -> Author:
    """An author; without a name it is the user of the operating system.

    Args:
        otherwise: what `why` is where none is given.
    """
    return Author(by or system_user(), why or otherwise)


def system_user() -> str:
    """The user's name, or number where the system has no name for it (in containers, say)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
