"""What a read gives: columns of values, each with its status and its moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

PRESENT: Final = "PRESENT"
NULL_VALUE: Final = "NULL_VALUE"  # the row is there, and has no value for the feature
NOT_FOUND: Final = "NOT_FOUND"  # nothing was ever written for the key
OUTSIDE_MAX_AGE: Final = "OUTSIDE_MAX_AGE"  # older than the view's TTL


class Missing:
    """Stands for a value that was never written, where None stands for a written null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Vectors(NamedTuple):
    """Columns in the order asked for; features of one view share a list of moments."""

    names: list[str]  # "view:feature"
    values: list[list[Any]]  # [feature][row], None where the status is not PRESENT
    statuses: list[list[str]]
    event_timestamps: list[list[datetime | None]]

    def row(self, index: int) -> dict[str, Any]:
        """One row's values by name."""
        return {name: column[index] for name, column in zip(self.names, self.values, strict=True)}

    def newest(self, index: int) -> datetime | None:
        """The newest moment among one row's values."""
        moments = [column[index] for column in self.event_timestamps]
        return max((m for m in moments if m is not None), default=None)


class Block(NamedTuple):
    """What a reader found in one view: rows in the order of the keys.

    `columns` hold MISSING where nothing was written; a column that is `whole` has neither that nor
    None.
    """

    times: Sequence[datetime | None]  # None: no row
    columns: list[list[Any]]
    whole: list[bool]


def column_of(block: Block, place: int, ttl_cutoff: datetime | None) -> tuple[list[Any], list[str]]:
    """One feature's values and statuses.

    Args:
        ttl_cutoff: rows before it are too old; None: values do not age.
    """
    column = block.columns[place]
    fresh = ttl_cutoff is None or all(t is None or t >= ttl_cutoff for t in block.times)
    if block.whole[place] and fresh:
        return column, [PRESENT] * len(column)
    values: list[Any] = []
    statuses = []
    for value, time in zip(column, block.times, strict=True):
        status = _status(value, time, ttl_cutoff)
        statuses.append(status)
        values.append(value if status == PRESENT else None)
    return values, statuses


def _status(value: Any, time: datetime | None, ttl_cutoff: datetime | None) -> str:
    if time is None or value is MISSING:
        return NOT_FOUND
    if ttl_cutoff is not None and time < ttl_cutoff:
        return OUTSIDE_MAX_AGE
    return NULL_VALUE if value is None else PRESENT
