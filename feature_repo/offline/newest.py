"""The heart of the join: for each entity row the newest feature row, feature rows seen once.

Entity rows are put in order of key and time. A feature row about a key matters first to one of
them: the first that is not earlier than it. There it competes with the others by time, then by
creation, then by its place in the table. At the end each entity row takes what its own place or
the nearest place before it (of the same key) has won. Feature rows are not sorted and need no
memory beyond one batch, however large the table; what stays in memory grows with the entity rows.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.offline.places import Places

Integers = npt.NDArray[np.int64]

_CODE = "__code"
_NEVER = np.iinfo(np.int64).min
# A table from key to code instead of a join, while it is no larger than this many times the keys.
_SPARSE, _SMALL = 8, 1 << 20
_AT_ONCE = 1 << 16  # rows that compete at a time: what is made on the way stays in the caches


class Newest:
    """Entity rows waiting for their feature rows.

    Args:
        keys: the entity rows' keys, under the table's names; a row with a null meets nobody.
        times: their moments, microseconds since 1970.
        known_only: a feature row matters from its creation on, if that is later than its time.
    """

    def __init__(self, keys: pl.DataFrame, times: Integers, known_only: bool) -> None:
        self._known_only = known_only
        self._codes = Codes(keys)
        code = self._codes.of(keys)
        order = _in_order(code, times)
        self._rows = order[np.count_nonzero(code < 0) :]  # those with a key, in order
        self._places = Places(code[self._rows], times[self._rows], self._codes.count)
        self._asked = len(times)
        # What the best feature row of each place has, the first to decide first.
        self._best_time, self._best_created, self._best_row = self._best = tuple(
            np.full(len(self._places), _NEVER) for _ in range(3)
        )
        self._lock = threading.Lock()

    def add(
        self, keys: pl.DataFrame, times: Integers, created: Integers | None, first: int
    ) -> None:
        """Let a batch of feature rows compete; safe from several threads.

        Args:
            created: their creation, if it is known.
            first: number of the first one within the table; the others follow.
        """
        if created is None:
            created = np.full(len(times), _NEVER)
        code = self._codes.of(keys)
        known = np.flatnonzero((code >= 0) & (times > _NEVER))
        for start in range(0, len(known), _AT_ONCE):
            rows = known[start : start + _AT_ONCE]
            values = [times.take(rows), created.take(rows), rows + first]
            since = np.maximum(*values[:2]) if self._known_only else values[0]
            self._compete(self._places.find(code.take(rows), since), values)

    def rows(self) -> tuple[Integers, Integers]:
        """For each entity row the number of its feature row, or −1, and that row's time."""
        won = np.flatnonzero(self._best_row >= 0)
        if self._known_only:  # a row that came late may be older than what was known before
            best = (self._best_row[won], self._best_created[won], self._best_time[won])
            won = won[np.lexsort(best)]
        rank = np.zeros(len(self._places), np.int64)
        rank[won] = np.arange(1, len(won) + 1)
        base = self._places.code * (len(won) + 1)  # so that no key's rank reaches the next key
        rank = (np.maximum.accumulate(base + rank) - base)[self._places.of_row]
        rows, times = np.full(self._asked, -1), np.full(self._asked, _NEVER)
        has = rank > 0
        place = won[rank[has] - 1]
        rows[self._rows[has]] = self._best_row[place]
        times[self._rows[has]] = self._best_time[place]
        return rows, times

    def _compete(self, place: Integers, values: list[Integers]) -> None:
        """Let rows replace those that they beat in (time, creation, number)."""
        with self._lock:
            for n, best in enumerate(self._best):
                before = best.take(place)
                np.maximum.at(best, place, values[n])
                equal = np.flatnonzero(values[n] == best.take(place))
                place, values = place.take(equal), [v.take(equal) for v in values]
                risen = place.compress(values[n] > before.take(equal))
                for lower in self._best[n + 1 :]:  # what it has belongs to one that is beaten now
                    lower[risen] = _NEVER


class Codes:
    """The keys of the entity rows as numbers from 0 on."""

    def __init__(self, keys: pl.DataFrame) -> None:
        self._table, self._lowest = _direct(keys)
        if self._table is None:
            self._known = keys.drop_nulls().unique(maintain_order=True).with_row_index(_CODE)
            self.count = len(self._known)
        else:
            self.count = int(self._table.max()) + 1

    def of(self, keys: pl.DataFrame) -> Integers:
        """Each row's key as a number; −1: null, or no entity row has it."""
        if self._table is not None:
            outside = self._lowest - 1
            key = keys.to_series().cast(pl.Int64)
            key = key.fill_null(outside) if key.null_count() else key
            return self._table.take(key.to_numpy() - outside, mode="clip")
        joined = keys.join(self._known, on=keys.columns, how="left", maintain_order="left")
        return joined[_CODE].cast(pl.Int64).fill_null(-1).to_numpy()


def _direct(keys: pl.DataFrame) -> tuple[Integers | None, int]:
    """A table from key to code, if the key is one integer of a small range; and its start.

    It has one entry more on both sides, for all keys outside.
    """
    column = keys.to_series().drop_nulls()
    if keys.width > 1 or not column.dtype.is_integer() or column.dtype == pl.UInt64:
        return None, 0
    if not len(column):
        return None, 0
    lowest, highest = int(column.min()), int(column.max())  # type: ignore[arg-type]
    size = highest - lowest + 1
    if size > _SMALL + _SPARSE * len(column):
        return None, 0
    asked = np.zeros(size + 2, bool)
    asked[(column.cast(pl.Int64) - lowest + 1).to_numpy()] = True
    return np.where(asked, np.cumsum(asked) - 1, -1), lowest


def _in_order(code: Integers, times: Integers) -> Integers:
    """The order of rows by code, then time."""
    if not len(code):
        return np.zeros(0, np.int64)
    first, span = int(times.min()), int(times.max()) - int(times.min()) + 1
    if (int(code.max()) + 2) * span < 2**63:
        one = pl.Series(code * span + (times - first))  # a third of the time that two need
        return one.arg_sort().cast(pl.Int64).to_numpy()
    return np.lexsort((times, code))
