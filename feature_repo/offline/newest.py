"""The heart of the join: for each entity row the newest feature row, feature rows seen once.

Entity rows are put in order of key and time. A feature row about a key matters first to one of
them: the first that is not earlier than it. There it competes with the others by time, then by
creation, then by its place in the table. At the end each entity row takes what its own place or
the nearest place before it (of the same key) has won. Feature rows need no order and no memory
beyond one batch, however large the table; what stays in memory grows with the entity rows.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

_CODE = "__code"
_NEVER = np.iinfo(np.int64).min
# A table from key to code instead of a join, while it is no larger than this many times the codes.
_SPARSE, _SMALL = 8, 1 << 20


class Newest:
    """Entity rows waiting for their feature rows.

    Args:
        keys: the entity rows' keys, under the table's names; a row with a null meets nobody.
        times: their moments, microseconds since 1970.
        known_only: a feature row matters from its creation on, if that is later than its time.
    """

    def __init__(self, keys: pl.DataFrame, times: Integers, known_only: bool) -> None:
        self._known_only = known_only
        self._codes = keys.drop_nulls().unique(maintain_order=True)
        self._codes = self._codes.with_columns(pl.int_range(pl.len()).alias(_CODE))
        self._table, self._lowest = self._direct()
        code = self._code_of(keys)
        order = np.lexsort((times, code))
        self._rows = order[code[order] >= 0]  # place → entity row
        self._code, self._time = code[self._rows], times[self._rows]
        self._asked = len(times)
        n = len(self._rows)
        self._best_time = np.full(n, _NEVER)
        self._best_created = np.full(n, _NEVER)
        self._best_row = np.full(n, -1)
        self._first = int(self._time.min()) if n else 0
        self._last = int(self._time.max()) if n else 0
        # Key and time share one integer; keys that do not fit beside the time come in turns.
        self._bits = max(1, (self._last - self._first).bit_length())
        self._shift = 63 - self._bits
        self._packed = self._pack(self._code, self._time)
        self._lock = threading.Lock()

    def add(
        self, keys: pl.DataFrame, times: Integers, created: Integers | None, first: int
    ) -> None:
        """Let a batch of feature rows compete; safe from several threads.

        Args:
            created: their creation, if it is known.
            first: number of the first one within the table; the others follow.
        """
        if not len(self._rows):
            return
        if created is None:
            created = np.zeros(len(times), np.int64)
        since = np.maximum(times, created) if self._known_only else times
        code = self._code_of(keys)
        here = np.flatnonzero((code >= 0) & (since <= self._last) & (times > _NEVER))
        turns = code[here] >> self._shift if len(self._codes) >> self._shift else None
        for turn in (0,) if turns is None else np.unique(turns):
            mine = here if turns is None else here[turns == turn]
            self._compete(mine, code[mine], since[mine], times, created, first)

    def rows(self) -> tuple[Integers, Integers]:
        """For each entity row the number of its feature row, or −1, and that row's time."""
        won = np.flatnonzero(self._best_row >= 0)
        if self._known_only:  # a row that came late may be older than what was known before
            best = (self._best_row[won], self._best_created[won], self._best_time[won])
            won = won[np.lexsort(best)]
        rank = np.zeros(len(self._rows), np.int64)
        rank[won] = np.arange(1, len(won) + 1)
        base = self._code * (len(won) + 1)  # so that no key's rank reaches the next key
        rank = np.maximum.accumulate(base + rank) - base
        rows, times = np.full(self._asked, -1), np.full(self._asked, _NEVER)
        has = rank > 0
        place = won[rank[has] - 1]
        rows[self._rows[has]] = self._best_row[place]
        times[self._rows[has]] = self._best_time[place]
        return rows, times

    def _compete(
        self,
        rows: Integers,
        code: Integers,
        since: Integers,
        times: Integers,
        created: Integers,
        first: int,
    ) -> None:
        """Rows of one turn of keys; times and creations are the whole batch's."""
        if not len(code):
            return
        turn = int(code[0]) >> self._shift
        start, end = np.searchsorted(self._code, [turn << self._shift, (turn + 1) << self._shift])
        packed = self._pack(code, np.maximum(since, self._first))
        order = np.argsort(packed)
        packed = packed[order]
        places = self._packed[start:end]
        place = np.searchsorted(places, packed)
        meets = place < len(places)
        meets[meets] = places[place[meets]] >> self._bits == packed[meets] >> self._bits
        place, rows = place[meets] + start, rows[order[meets]]
        if not len(rows):
            return
        starts = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
        moments = times[rows]
        newest = np.maximum.reduceat(moments, starts)
        sizes = np.diff(np.append(starts, len(place)))
        winning = np.flatnonzero(moments == np.repeat(newest, sizes))
        place, rows = place[winning], rows[winning]
        if len(rows) > len(starts):  # several of one moment
            tied = np.lexsort((rows, created[rows], place))
            place, rows = place[tied], rows[tied]
            last = np.append(place[1:] != place[:-1], True)
            place, rows = place[last], rows[last]
        self._take(place, newest, created[rows], rows + first)

    def _take(self, place: Integers, times: Integers, created: Integers, rows: Integers) -> None:
        """Let winners of a batch replace earlier ones that they beat."""
        with self._lock:
            old_time, old_created = self._best_time[place], self._best_created[place]
            later = (created > old_created) | (
                (created == old_created) & (rows > self._best_row[place])
            )
            better = (times > old_time) | ((times == old_time) & later)
            place = place[better]
            self._best_time[place] = times[better]
            self._best_created[place] = created[better]
            self._best_row[place] = rows[better]

    def _pack(self, code: Integers, times: Integers) -> Integers:
        packed: Integers = ((code & ((1 << self._shift) - 1)) << self._bits) + (times - self._first)
        return packed

    def _code_of(self, keys: pl.DataFrame) -> Integers:
        """Each row's key as a number; −1: null, or no entity row has it."""
        if self._table is not None:
            column = keys.to_series()
            near = (column.cast(pl.Int64) - self._lowest).fill_null(-1).to_numpy()
            inside = (near >= 0) & (near < len(self._table))
            return np.where(inside, self._table[np.where(inside, near, 0)], -1)
        joined = keys.join(self._codes, on=keys.columns, how="left", maintain_order="left")
        return joined[_CODE].fill_null(-1).cast(pl.Int64).to_numpy()

    def _direct(self) -> tuple[Integers | None, int]:
        """A table from key to code, if the key is one integer of a small range; and its start."""
        names = self._codes.columns[:-1]
        if len(names) != 1 or not self._codes.schema[names[0]].is_integer():
            return None, 0
        column = self._codes[names[0]]
        if column.dtype == pl.UInt64 or not len(column):
            return None, 0
        lowest, highest = int(column.min()), int(column.max())  # type: ignore[arg-type]
        size = highest - lowest + 1
        if size > _SMALL + _SPARSE * len(column):
            return None, 0
        table = np.full(size, -1)
        table[(column.cast(pl.Int64) - lowest).to_numpy()] = self._codes[_CODE].to_numpy()
        return table, lowest
