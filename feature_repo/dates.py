"""A range of whole UTC days.

Its moments carry no zone: inside transformations all times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

EPOCH = date(1970, 1, 1)


class Dates(NamedTuple):
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def start(self) -> datetime:
        """Midnight at the beginning."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """Midnight at the end: the first moment that is outside."""
        return midnight(self.last + timedelta(days=1))

    def widened(self, days: int) -> Dates:
        """The same range, begun `days` earlier."""
        return Dates(self.first - timedelta(days=days), self.last)

    def days(self) -> Iterator[date]:
        for n in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=n)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days
