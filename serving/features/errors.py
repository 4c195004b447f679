"""What can be wrong with a question for features, and with the store that should answer it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from feature_repo.store import StoreError


class UnknownNameError(StoreError):
    """A view, feature or service that is not in the registry.

    Args:
        near: known names that resemble it.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.kind = kind
        self.name = name
        self.near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(self.near)}" if self.near else f"; there are {names}"
        super().__init__(f"no {kind} {name!r}{hint}")


class KeyColumnError(StoreError):
    """A missing key column, columns of different lengths, or a key of the wrong type."""

    exit_code = 65  # EX_DATAERR


class FeaturesUnavailableError(RuntimeError):
    """The online store does not answer, or not in time; asking again later may help."""

    exit_code = 69  # EX_UNAVAILABLE
