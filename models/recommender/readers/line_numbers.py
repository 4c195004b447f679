"""Where the records of a CSV file begin: line numbers that a person's editor shows.

Limits: reads the whole file; used only once there are rows to complain about.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_NEWLINE, _RETURN = ord("\n"), ord("\r")


def record_lines(path: Path, rejected: list[tuple[int, str]], quote: str) -> tuple[Ints, Ints]:
    """1-based line numbers of the kept records below the header, and of the rejected ones.

    Blank lines are no records, and a quoted line break does not end one.

    Args:
        rejected: byte position (from 0) and text of each record that the parser set aside; a text
            may begin with the blank lines before it.
        quote: the character that lets a field hold line breaks.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    data = np.frombuffer(content, dtype=np.uint8)
    newlines = np.flatnonzero(data == _NEWLINE)
    quotes = np.flatnonzero(data == ord(quote))
    ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(data)]
    first = data[starts]
    blank = (first == _NEWLINE) | (
        (first == _RETURN) & (data[(starts + 1) % len(data)] == _NEWLINE)
    )
    records = starts[~blank][1:]
    aside = np.array([at + len(text) - len(text.lstrip("\r\n")) for at, text in rejected], np.int64)
    kept = records[~np.isin(records, aside)]
    lines = [np.searchsorted(newlines, part) + 1 for part in (kept, aside)]
    return lines[0].astype(np.int64), lines[1].astype(np.int64)
