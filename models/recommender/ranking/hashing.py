"""A hash of text that is the same on every machine and in every version: FNV-1a over UTF-8.

After Fowler, Noll and Vo, http://www.isthe.com/chongo/tech/comp/fnv/, with the final mixing of
MurmurHash3, as the low bits of FNV alone are weak for short keys.

Limits: keys that differ only by NUL characters at their end count as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX_1, _MIX_2, _SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)


def hashes(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """[N] 64-bit hashes of N texts; the work grows with N × the longest text.

    >>> [hex(int(h)) for h in hashes(["", "a"])]
    ['0xefd01f60ba992926', '0x82a2a958a9bece5b']
    """
    if not len(texts):
        return np.zeros(0, dtype=np.uint64)
    encoded = [t.encode("utf-8", "surrogatepass") for t in texts]
    widths = np.array([len(e) for e in encoded])
    width = max(int(widths.max()), 1)
    padded = np.array(encoded, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width)
    state = np.full(len(texts), _OFFSET, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        for place in range(width):
            stepped = (state ^ padded[:, place]) * _PRIME
            state = np.where(widths > place, stepped, state)
        state = (state ^ (state >> _SHIFT)) * _MIX_1
        state = (state ^ (state >> _SHIFT)) * _MIX_2
        return state ^ (state >> _SHIFT)
