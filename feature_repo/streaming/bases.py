"""What batch knows of users before the journal does: their histories, and recent raw events.

A base is exact if the offline rows of the days before it follow from the raw events that are there,
which is what computation's fingerprints say. Where they lag behind, the base lies further back, and
raw events from then on are read instead.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.computation import Computation, part_path
from feature_repo.dates import EPOCH, day_number
from feature_repo.sources import WarehouseInteractions
from feature_repo.store import StoreError
from feature_repo.streaming.journal import micros
from feature_repo.view import TIME
from feature_repo.views import USER_HISTORY

log = logging.getLogger(__name__)

_FOREVER = 10**6  # a day that never comes
# The offline rows of more and more days are looked through, newest first, until all are found.
_FIRST_DAYS = 8


class Bases:
    """Reads bases of users.

    Args:
        folder: of the feature store.
        touches: raw interactions of the warehouse.
        computation: with the same settings as batch's.
    """

    def __init__(
        self, folder: Path, touches: WarehouseInteractions, computation: Computation
    ) -> None:
        self._folder = folder
        self._touches = touches
        self._computation = computation
        self._computed: dict[int, int] = {}  # day → when, microseconds
        self.first_stale = _FOREVER  # the first day (since 1970) that batch has to compute

    def refresh(self) -> dict[int, int]:
        """Look what batch has done since the last call: days (since 1970) computed again, and when.

        Raises:
            StoreError: a raw file cannot be read.
        """
        stale = self._computation.stale_days(USER_HISTORY, {"interactions": self._touches})
        self.first_stale = min((day_number(d) for d in stale), default=_FOREVER)
        computed = {
            day_number(day): micros(moment)
            for day, moment in self._computation.computed_at(USER_HISTORY).items()
        }
        news = {d: m for d, m in computed.items() if m != self._computed.get(d)}
        self._computed = computed
        return news

    def day(self, wanted: int) -> int:
        """The last day, not after `wanted`, before which offline rows are exact."""
        return min(wanted, self.first_stale)

    def histories(self, users: Collection[str], since: int) -> dict[str, tuple[list[str], int]]:
        """item_ids and length of each user before a day; of one without any, nothing and 0."""
        found: dict[str, tuple[list[str], int]] = {}
        days = sorted((d for d in self._computed if d < since), reverse=True)
        missing, step = set(users), _FIRST_DAYS
        while missing and days:
            now, days, step = days[:step], days[step:], 2 * step
            for user, items, length in self._newest(missing, now).iter_rows():
                found[user] = (items, length)
            missing -= set(found)
        return {user: found.get(user, ([], 0)) for user in users}

    def _newest(self, users: Collection[str], days: Sequence[int]) -> pl.DataFrame:
        paths = [part_path(USER_HISTORY, self._folder, _date(d)) for d in days]
        files = [p for p in paths if p.is_file()]
        columns = ["user_id", "item_ids", "length"]
        if not files:
            return pl.DataFrame(schema=columns)
        try:
            return (
                pl.scan_parquet(files, hive_partitioning=False)
                .filter(pl.col("user_id").is_in(list(users)))
                .sort(TIME)
                .unique("user_id", keep="last", maintain_order=True)
                .select(columns)
                .collect()
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(
                f"{USER_HISTORY.folder(self._folder)}: cannot be read "
                f"({str(error).splitlines()[0]})"
            ) from error

    def events(self, users: Collection[str], since: int) -> list[dict[str, Any]]:
        """The warehouse's events of users from a day on."""
        table = self._touches.events.path
        files = [
            file
            for folder in table.glob("date=*")
            if day_number(date.fromisoformat(folder.name.removeprefix("date="))) >= since
            for file in folder.glob("*.parquet")
            if not file.name.startswith(".")
        ]
        if not files:
            return []
        try:
            frame = (
                pl.scan_parquet(
                    files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore"
                )
                .filter(pl.col("user_id").is_in(list(users)))
                .collect()
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{table}: cannot be read ({str(error).splitlines()[0]})") from error
        return frame.to_dicts()


def _date(day: int) -> date:
    return EPOCH + timedelta(days=day)
