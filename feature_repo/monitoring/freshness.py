"""How old a view's newest values are, beside what its team promises."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from feature_repo.computation import view_files
from feature_repo.monitoring.rows import collect, scan
from feature_repo.view import CREATED, TIME, View


class Freshness(NamedTuple):
    """Ages in seconds; None: no rows.

    Args:
        offline_s, online_s: of the newest value's time, by the data's clock (`as_of`).
        created_s: since the newest row was computed or pushed, by the machine's clock.
        slo_s: the promise.
        ahead: offline rows whose time has not come yet; they count for no age.
    """

    offline_s: float | None
    online_s: float | None
    created_s: float | None
    slo_s: float
    ahead: int

    @property
    def late(self) -> bool:
        """Whether the promise is broken, offline or online."""
        return any(age is None or age > self.slo_s for age in (self.offline_s, self.online_s))


def freshness_of(
    view: View, store: Path, as_of: datetime, now: datetime, online: datetime | None
) -> Freshness:
    """Args: online: time of the newest value that the online store was seen to have.

    Raises:
        StoreError: a file that cannot be read.
    """
    newest = created = None
    ahead = 0
    files = [f for _, f in view_files(view, store)]
    if files:
        moment = pl.col(TIME)
        known = collect(
            view,
            scan(files).select(
                moment.filter(moment <= as_of).max().alias("newest"),
                pl.col(CREATED).max().alias("created"),
                (moment > as_of).sum().alias("ahead"),
            ),
        )
        newest, created, ahead = known["newest"].item(), known["created"].item(), known["ahead"][0]
    return Freshness(
        _age(as_of, newest),
        _age(as_of, online),
        _age(now, created),
        view.freshness.total_seconds(),
        int(ahead),
    )


def _age(now: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else (now - moment).total_seconds()
