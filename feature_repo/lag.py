"""Which views are behind their raw data, as far as a query of some last day would notice.

Each view is judged by itself: one that nobody computes any more is not hidden by another that is
fresh. A view whose raw data end earlier (no review was written lately) is not behind.

Limits: by the newest computed day of a view; a day in between that was not computed again after its
raw data had changed is not seen. What events push is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from feature_repo.computation import computations
from feature_repo.metadata import connect
from feature_repo.sources import RawTable
from feature_repo.view import View
from feature_repo.views import VIEWS


class Behind(NamedTuple):
    """A view that is behind.

    Args:
        newest: the last day that is computed; None: the view never was.
        due: the last day up to the one asked for that its raw data give; None: it has no days.
    """

    view: str
    newest: date | None
    due: date | None

    def __str__(self) -> str:
        if self.newest is None:
            return f"{self.view} (never computed)"
        return f"{self.view} (computed up to {self.newest}, due up to {self.due})"


def behind(
    folder: Path, names: Iterable[str], tables: Mapping[str, RawTable], until: date
) -> list[Behind]:
    """Of these views, those that are behind, in order.

    Args:
        names: of views; others, such as request-time views, have no days and are passed over.
        tables: the raw tables; a view whose tables are not among them has nothing due.
        until: later days do not matter.
    """
    wanted = set(names)
    asked = sa.select(computations.c.view, sa.func.max(computations.c.day))
    with connect(folder).connect() as connection:
        rows = connection.execute(asked.group_by(computations.c.view)).all()
    newest: dict[str, date] = {r[0]: r[1] for r in rows}
    found = []
    for view in VIEWS:
        if view.full_name not in wanted:
            continue
        own = newest.get(view.full_name)
        due = _due(view, tables, until)
        late = due is not None and (own is None or own < due)
        if late or (own is None and not view.partitioned):
            found.append(Behind(view.full_name, own, due))
    return found


def _due(view: View, tables: Mapping[str, RawTable], until: date) -> date | None:
    """The last day, of those up to `until`, that a computation makes of these raw tables."""
    if not view.partitioned:
        return None
    days = [d for name in view.sources if name in tables for d in tables[name].partitions()]
    reached = [d for d in days if d <= until]
    if not reached:
        return None
    # What looks back changes with every day, also with one on which nothing happened.
    return min(until, max(days)) if view.lookback else max(reached)
