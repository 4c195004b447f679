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
    """Columns in the order asked for. Columns may share their lists: read, don't write."""

    names: list[str]  # "view:feature"
    values: list[list[Any]]  # [feature][row], None where the status is not PRESENT
    statuses: list[list[str]]
    event_timestamps: list[list[datetime | None]]

    def row(self, index: int) -> dict[str, Any]:
        """One row's values by name."""
        return {name: column[index] for name, column in zip(self.names, self.values, strict=True)}

    def split(self, size: int) -> tuple[Vectors, Vectors]:
        """The first `size` columns, and the others."""
        names, values, statuses, times = self
        return (
            Vectors(names[:size], values[:size], statuses[:size], times[:size]),
            Vectors(names[size:], values[size:], statuses[size:], times[size:]),
        )

    def newest(self, index: int) -> datetime | None:
        """The newest moment among one row's values."""
        moments = [column[index] for column in self.event_timestamps]
        return max((m for m in moments if m is not None), default=None)


# One feature of all rows: values, statuses, moments. A plain tuple: twenty are made for each read.
Column = tuple[list[Any], list[str], list["datetime | None"]]


class Block(NamedTuple):
    """What a reader found in one view: rows in the order of the keys.

    `columns` hold MISSING where nothing was written; a column that is `whole` has neither that nor
    None.
    """

    times: list[datetime | None]  # None: no row
    columns: list[list[Any]]
    whole: list[bool]

    def spread(self, rows: Sequence[int]) -> Block:
        """Rows of distinct keys → one row for each row asked for."""
        return Block(
            [self.times[r] for r in rows],
            [[column[r] for r in rows] for column in self.columns],
            self.whole,
        )


class Judged:
    """A block with statuses: who is too old, who is not there.

    Args:
        cutoff: rows before it are too old; None: values do not age.
    """

    def __init__(self, block: Block, cutoff: datetime | None) -> None:
        self.block = block
        self.cutoff = cutoff
        self.times = block.times
        self.present = [PRESENT] * len(block.times)
        moments = [t for t in block.times if t is not None]
        here = len(moments) == len(block.times)
        self.fresh = here and (cutoff is None or min(moments, default=cutoff) >= cutoff)

    def column(self, place: int) -> Column:
        """One feature's values, statuses and moments."""
        column = self.block.columns[place]
        if self.fresh and self.block.whole[place]:
            return column, self.present, self.times
        values: list[Any] = []
        statuses = []
        for value, time in zip(column, self.times, strict=True):
            status = self._status(value, time)
            statuses.append(status)
            values.append(value if status == PRESENT else None)
        return values, statuses, self.times

    def _status(self, value: Any, time: datetime | None) -> str:
        if time is None or value is MISSING:
            return NOT_FOUND
        if self.cutoff is not None and time < self.cutoff:
            return OUTSIDE_MAX_AGE
        return NULL_VALUE if value is None else PRESENT
