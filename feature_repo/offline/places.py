"""Where moments lie among the entity rows; found in any order, so that nothing has to be sorted.

Each key's span of time is cut into slots, some for each of its entity rows, so that the slot of a
moment leaves few rows to choose among, most often none; halving decides among those that are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_SLOTS = 2  # for each entity row: more need memory, fewer need more halving
_NEVER = np.iinfo(np.int64).max


class Places:
    """Entity rows in order of key and time; behind those of each key a place later than any time.

    Args:
        code: of each row's key, from 0 on, in order.
        time: of each row, in order for each code.
        codes: how many there are.
    """

    def __init__(self, code: Integers, time: Integers, codes: int) -> None:
        rows = np.bincount(code, minlength=codes)
        keys = np.arange(codes)
        self.code = np.repeat(keys, rows + 1)  # of each place
        self.of_row = np.arange(len(time)) + code
        self._time = np.full(len(self.code), _NEVER)
        self._time[self.of_row] = time
        self._first, self._last = (int(time.min()), int(time.max())) if len(time) else (0, 0)
        # The last slot of a key is for the last moment and later ones, hence one more for each.
        self._slot = _SLOTS * (np.cumsum(rows) - rows) + keys
        self._rate = rows * (_SLOTS / max(1, self._last - self._first))
        filled = np.bincount(self._slot_of(code, time), minlength=_SLOTS * len(time) + codes)
        filled[self._slot + _SLOTS * rows] += 1
        width = np.int32 if len(self.code) < 2**31 else np.int64  # the caches hold more of them
        self._start: npt.NDArray[np.integer[Any]] = np.concatenate(([0], np.cumsum(filled))).astype(
            width
        )

    def __len__(self) -> int:
        return len(self.code)

    def find(self, code: Integers, time: Integers) -> Integers:
        """The first place of each code that is not earlier than its time."""
        slot = self._slot_of(code, time)
        low, high = self._start.take(slot), self._start[1:].take(slot)
        several = np.flatnonzero(low < high)
        while len(several):
            middle = (low.take(several) + high.take(several)) >> 1
            earlier = self._time.take(middle) < time.take(several)
            low[several.compress(earlier)] = middle.compress(earlier) + 1
            high[several.compress(~earlier)] = middle.compress(~earlier)
            several = several.compress(low.take(several) < high.take(several))
        return low.astype(np.int64)

    def _slot_of(self, code: Integers, time: Integers) -> Integers:
        since = np.clip(time, self._first, self._last) - self._first
        return self._slot.take(code) + (since * self._rate.take(code)).astype(np.int64)
