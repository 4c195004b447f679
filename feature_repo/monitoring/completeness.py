"""What is missing: whole days, and keys online. (Shares of nulls are in the profiles.)"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from feature_repo.computation import view_files
from feature_repo.dates import Dates
from feature_repo.monitoring.sample import Sample
from feature_repo.view import View


class Completeness(NamedTuple):
    """What a view lacks.

    Args:
        empty_days: whole days without rows, after the first that has some and up to `as_of`.
        keys_asked, keys_missing: of the sample that was looked up online.
        missing_share: None if no key was asked for.
        examples: keys that the online store lacks.
        error: why the online store did not answer.
    """

    empty_days: tuple[date, ...]
    keys_asked: int
    keys_missing: int
    missing_share: float | None
    examples: tuple[str, ...]
    error: str = ""


def completeness_of(view: View, store: Path, as_of: datetime, sample: Sample) -> Completeness:
    return Completeness(
        empty_days(view, store, as_of),
        sample.keys,
        sample.missing,
        sample.missing / sample.keys if sample.keys else None,
        sample.examples,
        sample.error,
    )


def empty_days(view: View, store: Path, as_of: datetime) -> tuple[date, ...]:
    """Days that ended before `as_of`; retention may have taken the view's first ones."""
    if not view.partitioned:
        return ()
    filled = {d for d, _ in view_files(view, store) if d is not None}
    last = as_of.date() - timedelta(days=1)
    if not filled or min(filled) > last:
        return ()
    return tuple(d for d in Dates(min(filled), last).days() if d not in filled)
