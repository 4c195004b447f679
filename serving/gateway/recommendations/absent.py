"""A part of the pipeline that cannot work here."""

from __future__ import annotations


class AbsentError(RuntimeError):
    """What a part needs is not there, such as an asset or a view: the gateway goes without it."""


class NothingError(RuntimeError):
    """A source that has nothing for this question; the argument is the reason's name."""
